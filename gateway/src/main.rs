//! The `wardline` binary: the gateway and its operators' command line.

use std::process::ExitCode;

fn main() -> ExitCode {
    wardline::cli::main()
}
