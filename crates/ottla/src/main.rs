//! The binary `ottla`.

fn main() -> std::process::ExitCode {
    ottla::command_line()
}
