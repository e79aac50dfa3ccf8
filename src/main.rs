use std::process::ExitCode;

fn main() -> ExitCode {
    hostmux::cli::main()
}
