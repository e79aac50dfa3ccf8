//! Tickets at exact times, by one process and by several that share a folder.

use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::time::Duration;

use super::key::SEALS_S;
use super::*;
use crate::tls::specimen::Folder;

/// Some second.
const T: u64 = 1_800_000_000;
const PLAIN: &[u8] = b"a session";

fn at(second: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(second)
}

fn open(folder: &Folder, second: u64) -> Tickets {
    Tickets::open(folder.path(), at(second))
}

#[track_caller]
fn opens(tickets: &Tickets, ticket: &[u8], second: u64, want: bool) {
    let got = tickets.unseal(ticket, second);
    assert_eq!(got.as_deref(), want.then_some(PLAIN));
}

fn key_file(folder: &Folder) -> std::path::PathBuf {
    folder.path().join("tickets.key")
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_ticket_is_opened_by_the_next_process() {
    let folder = Folder::new();
    let ticket = open(&folder, T).seal(PLAIN, T).unwrap();
    opens(&open(&folder, T + 1), &ticket, T + 1, true);
    opens(&open(&Folder::new(), T + 1), &ticket, T + 1, false);
    opens(&Tickets::fleeting(at(T)), &ticket, T, false);
    assert_eq!(mode(&key_file(&folder)), 0o600);
    assert_eq!(mode(&folder.path().join("tickets.lock")), 0o600);
    assert_eq!(fs::read_dir(folder.path()).unwrap().count(), 2);
}

#[test]
fn a_ticket_is_sealed_anew_and_tells_nothing() {
    let tickets = Tickets::fleeting(at(T));
    let (one, two) = (
        tickets.seal(PLAIN, T).unwrap(),
        tickets.seal(PLAIN, T).unwrap(),
    );
    assert_eq!(one[..NAME_BYTES], two[..NAME_BYTES]);
    assert_ne!(one[NAME_BYTES..], two[NAME_BYTES..]);
    assert_eq!(one.len(), NAME_BYTES + 12 + PLAIN.len() + 16);
    for position in 0..one.len() {
        let mut changed = one.clone();
        changed[position] ^= 1;
        opens(&tickets, &changed, T, false);
        opens(&tickets, &one[..position], T, false);
    }
    opens(&tickets, &[&one[..], b"x"].concat(), T, false);
    opens(&tickets, &vec![0; TICKET_BYTES_MAX + 1], T, false);
    opens(&tickets, &one, T, true);
    assert!(tickets.enabled());
    assert_eq!(tickets.lifetime(), 43_200);
    assert!(tickets.seal(&[0; TICKET_BYTES_MAX], T).is_none());
    let told = format!("{tickets:?} {:?}", tickets.ring.load());
    assert!(!told.contains("secret"), "{told}");
}

#[test]
fn a_key_seals_for_six_hours_and_opens_for_twelve() {
    let folder = Folder::new();
    let tickets = open(&folder, T);
    let first = tickets.seal(PLAIN, T).unwrap();
    let last = tickets.seal(PLAIN, T + SEALS_S - 1).unwrap();
    assert_eq!(first[..NAME_BYTES], last[..NAME_BYTES]);
    let next = tickets.seal(PLAIN, T + SEALS_S).unwrap();
    assert_ne!(first[..NAME_BYTES], next[..NAME_BYTES]);
    for process in [&tickets, &open(&folder, T + SEALS_S)] {
        opens(process, &last, T + OPENS_S - 1, true);
        opens(process, &last, T + OPENS_S, false);
        opens(process, &next, T + OPENS_S, true);
    }
    // What opens no more lies nowhere.
    tickets.seal(PLAIN, T + OPENS_S).unwrap();
    assert_eq!(tickets.ring.load().keys().len(), 2);
    let text = fs::read_to_string(key_file(&folder)).unwrap();
    assert_eq!(text.lines().count(), 3);
    assert!(!text.contains(&format!("{T} ")));
}

#[test]
fn a_clock_that_is_set_back_makes_no_key_immortal() {
    let folder = Folder::new();
    let tickets = open(&folder, T);
    let ticket = tickets.seal(PLAIN, T).unwrap();
    let back = T - SEALS_S;
    opens(&tickets, &ticket, back, true);
    opens(&tickets, &ticket, back - 1, false);
    let other = tickets.seal(PLAIN, back - 1).unwrap();
    assert_ne!(ticket[..NAME_BYTES], other[..NAME_BYTES]);
    opens(&open(&folder, back), &other, back, true);
    opens(&open(&folder, 0), &ticket, 0, false);
}

#[test]
fn processes_that_overlap_open_each_others_tickets() {
    let folder = Folder::new();
    let (old, new) = (open(&folder, T), open(&folder, T + 60));
    let turn = T + SEALS_S;
    // One of them has changed the key, and the other meets it.
    let ticket = new.seal(PLAIN, turn).unwrap();
    opens(&old, &ticket, turn, true);
    // The other's turn comes: it takes the key that is there.
    let again = old.seal(PLAIN, turn + 1).unwrap();
    assert_eq!(ticket[..NAME_BYTES], again[..NAME_BYTES]);
    opens(&open(&folder, turn + 2), &again, turn + 2, true);
}

#[test]
fn an_unknown_name_costs_one_look_a_second() {
    let folder = Folder::new();
    let (old, new) = (open(&folder, T), open(&folder, T));
    let turn = T + SEALS_S;
    opens(&old, &[7; 100], turn, false);
    let ticket = new.seal(PLAIN, turn).unwrap();
    opens(&old, &ticket, turn, false);
    opens(&old, &ticket, turn + 1, true);
}

#[test]
fn of_two_that_start_at_once_both_are_understood() {
    for _ in 0..8 {
        let folder = Folder::new();
        let barrier = std::sync::Barrier::new(4);
        let tickets: Vec<_> = std::thread::scope(|scope| {
            let start = || {
                barrier.wait();
                open(&folder, T)
            };
            let threads: Vec<_> = (0..4).map(|_| scope.spawn(start)).collect();
            threads
                .into_iter()
                .map(|thread| thread.join().unwrap())
                .collect()
        });
        // Who found the folder locked leaves its key there a second later.
        for process in &tickets {
            process.seal(PLAIN, T + 1).unwrap();
        }
        for sealing in &tickets {
            let ticket = sealing.seal(PLAIN, T + 2).unwrap();
            for (n, opening) in (0_u64..).zip(&tickets) {
                opens(opening, &ticket, T + 2 + n, true);
            }
            opens(&open(&folder, T + 3), &ticket, T + 3, true);
        }
    }
}

#[test]
fn threads_that_meet_at_the_turn_all_get_tickets() {
    let folder = Folder::new();
    let tickets = open(&folder, T);
    let barrier = std::sync::Barrier::new(4);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for turn in 1..50 {
                    barrier.wait();
                    let now = T + turn * SEALS_S;
                    let ticket = tickets.seal(PLAIN, now).unwrap();
                    opens(&tickets, &ticket, now, true);
                }
            });
        }
    });
}

#[test]
fn a_file_that_cannot_be_used_is_replaced() {
    let check = |name: &str, change: &dyn Fn(&Path), opens_again: bool| {
        let folder = Folder::new();
        let ticket = open(&folder, T).seal(PLAIN, T).unwrap();
        change(&key_file(&folder));
        let next = open(&folder, T + 1);
        assert_eq!(next.unseal(&ticket, T + 1).is_some(), opens_again, "{name}");
        let ticket = next.seal(PLAIN, T + 1).unwrap();
        opens(&open(&folder, T + 2), &ticket, T + 2, true);
        let metadata = fs::symlink_metadata(key_file(&folder)).unwrap();
        assert!(metadata.is_file(), "{name}");
        assert_eq!(metadata.permissions().mode() & 0o7777, 0o600, "{name}");
    };
    let write = |text: String| move |path: &Path| fs::write(path, &text).unwrap();
    let edit = |change: &dyn Fn(String) -> String, path: &Path| {
        fs::write(path, change(fs::read_to_string(path).unwrap())).unwrap();
    };
    check("untouched", &|_| {}, true);
    check("missing", &|path| fs::remove_file(path).unwrap(), false);
    check("empty", &write(String::new()), false);
    check("no header", &write("x\n".into()), false);
    check("large", &write("x".repeat(5_000)), false);
    check(
        "no text",
        &|path| fs::write(path, [0xff; 90]).unwrap(),
        false,
    );
    check(
        "cut",
        &|path| edit(&|text| text[..text.len() - 1].into(), path),
        false,
    );
    check("half", &|path| edit(&|text| text[..60].into(), path), false);
    check(
        "version",
        &|path| edit(&|text| text.replace("version 1", "version 2"), path),
        false,
    );
    check(
        "digit",
        &|path| edit(&|text| text.replace(&format!("{T} "), "-1 "), path),
        false,
    );
    check(
        "hex",
        &|path| {
            edit(
                &|text| text.replace(&format!("{T} "), &format!("{T} g")),
                path,
            )
        },
        false,
    );
    check(
        "word",
        &|path| edit(&|text| text.trim_end().to_owned() + " x\n", path),
        false,
    );
    check("line", &|path| edit(&|text| text + "\n", path), false);
    let many = |text: String| {
        let line = text.lines().nth(1).unwrap().to_owned() + "\n";
        text + &line.repeat(ring::KEYS_MAX)
    };
    check("too many", &|path| edit(&many, path), false);
    let readable = |path: &Path| {
        fs::set_permissions(path, PermissionsExt::from_mode(0o640)).unwrap();
    };
    check("others can read it", &readable, false);
    let link = |path: &Path| {
        let elsewhere = path.with_extension("elsewhere");
        fs::rename(path, &elsewhere).unwrap();
        symlink(elsewhere, path).unwrap();
    };
    check("a link", &link, false);
    let pipe = |path: &Path| {
        fs::remove_file(path).unwrap();
        let mode = rustix::fs::Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, path, rustix::fs::FileType::Fifo, mode, 0).unwrap();
    };
    check("a pipe", &pipe, false);
}

#[test]
fn what_a_process_that_died_left_is_in_nobodys_way() {
    let folder = Folder::new();
    folder.write(".tickets.key.new", "half");
    let ticket = open(&folder, T).seal(PLAIN, T).unwrap();
    opens(&open(&folder, T), &ticket, T, true);
}

#[test]
fn without_a_folder_the_keys_are_this_processs_own() {
    let folder = Folder::new();
    let file = folder.write("file", "");
    let check = |path: &Path| {
        let tickets = Tickets::open(path, at(T));
        for now in [T, T + 1, T + SEALS_S, T + SEALS_S + 1] {
            let ticket = tickets.seal(PLAIN, now).unwrap();
            opens(&tickets, &ticket, now, true);
        }
    };
    check(&file);
    let folder = Folder::new();
    fs::create_dir(folder.path().join("tickets.key")).unwrap();
    check(folder.path());
    // Once it can be written, it is.
    let folder = Folder::new();
    let inner = folder.path().join("a/b");
    fs::write(folder.path().join("a"), "").unwrap();
    let tickets = Tickets::open(&inner, at(T));
    fs::remove_file(folder.path().join("a")).unwrap();
    let ticket = tickets.seal(PLAIN, T + 1).unwrap();
    opens(&Tickets::open(&inner, at(T + 1)), &ticket, T + 1, true);
    assert_eq!(mode(&inner), 0o700);
}
