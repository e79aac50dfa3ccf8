//! Threads, each with a runtime of its own, and what belongs to a thread.
//!
//! As many threads as cores; an exchange never leaves the thread its
//! connection came to. Nothing here is `Send` for the sake of a scheduler.

pub mod buffers;
pub mod clock;
pub mod counted;
pub mod date;
pub mod flow;

use std::cell::Cell;
use std::collections::hash_map::RandomState;
use std::hash::{BuildHasher, Hasher};
use std::io;
use std::thread::JoinHandle;

use tokio::runtime::{Builder, LocalOptions};

/// Runs a future on a thread of its own, with a runtime that spawns only local tasks.
/// What it has given to threads that may block is not waited for.
pub fn thread<F>(
    name: &str,
    make: impl FnOnce() -> F + Send + 'static,
) -> io::Result<JoinHandle<()>>
where
    F: Future<Output = ()> + 'static,
{
    std::thread::Builder::new()
        .name(name.to_owned())
        .spawn(move || {
            match Builder::new_current_thread()
                .enable_all()
                .build_local(LocalOptions::default())
            {
                Ok(runtime) => {
                    runtime.block_on(make());
                    runtime.shutdown_background();
                }
                Err(error) => tracing::error!(%error, "a thread could not start its runtime"),
            }
        })
}

/// 128 random bits: for names, not for secrets.
pub fn random() -> u128 {
    thread_local! {
        static STATE: Cell<(u64, u64)> = Cell::new({
            // The standard library's keys come from the system's random source.
            let seed = || RandomState::new().build_hasher().finish();
            (seed() | 1, seed())
        });
    }
    STATE.with(|state| {
        let (mut s0, mut s1) = state.get();
        let mut next = || {
            // xoroshiro128++ (Blackman and Vigna).
            let result = s0.wrapping_add(s1).rotate_left(17).wrapping_add(s0);
            s1 ^= s0;
            s0 = s0.rotate_left(49) ^ s1 ^ (s1 << 21);
            s1 = s1.rotate_left(28);
            result
        };
        let value = u128::from(next()) << 64 | u128::from(next());
        state.set((s0, s1));
        value
    })
}
