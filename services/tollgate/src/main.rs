//! The `tollgate` binary: see [`tollgate::cli`].

use clap::Parser;
use std::process::ExitCode;

fn main() -> ExitCode {
    tollgate_runtime::secret::keep_out_of_dumps();
    let cli = tollgate::cli::Cli::parse();
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("tollgate: the async runtime cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = match runtime.block_on(tollgate::run(cli)) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("tollgate: {error:#}");
            ExitCode::FAILURE
        }
    };
    // A blocked thread (a broker that does not answer) must not keep the process.
    runtime.shutdown_timeout(std::time::Duration::from_secs(5));
    tollgate_runtime::exit(i32::from(code != ExitCode::SUCCESS))
}
