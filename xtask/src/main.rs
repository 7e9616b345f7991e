//! The repository's commands: `cargo xtask test`, `cargo xtask demo` and `cargo xtask bench`.

mod bench;
mod database;
mod demo;
mod instructions;
mod node;
mod process;
mod stages;
mod stress;
mod system;
mod web;

use std::process::ExitCode;

const USAGE: &str = "\
usage: cargo xtask test [rust|clients|web|lint]...   checks everything, or the named parts
       cargo xtask test --stress [rust|clients|web]...
                                                     the suites, three times on a busy machine
       cargo xtask demo [--release]                  the web demo, on the relay it shows
       cargo xtask bench [--quick] [--record] [--only SERVER]... [WORKLOAD]...
                                                     the figures of docs/performance.md: 40 minutes
       cargo xtask bench durability                  the figures of docs/durability.md: 4 minutes
       cargo xtask instructions [--record]           counts those of the hot path";

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let outcome = match arguments.as_slice() {
        ["test", "--stress", parts @ ..] => match stages::Part::parse_all(parts) {
            Some(parts) => stages::stress(&parts),
            None => return usage(),
        },
        ["test", parts @ ..] => match stages::Part::parse_all(parts) {
            Some(parts) => stages::run(&parts),
            None => return usage(),
        },
        ["demo"] => demo::run(demo::Build::Debug),
        ["demo", "--release"] => demo::run(demo::Build::Release),
        ["instructions"] => instructions::show(),
        ["instructions", "--record"] => instructions::record(),
        ["bench", "durability"] => bench::durability(),
        ["bench", options @ ..] => bench::compare(options),
        _ => return usage(),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn usage() -> ExitCode {
    eprintln!("{USAGE}");
    ExitCode::from(2)
}
