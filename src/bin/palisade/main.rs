//! The command-line tool: the SDK's face for evaluation, on the same public API as everyone else's programs.
//!
//! Results go to stdout, everything else to stderr; the exit code is 0 only when the command did what it says.
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::exit,
    reason = "a command-line tool talks to its terminal"
)]
#![allow(unreachable_pub, reason = "a binary has no outside")]

mod ask;
mod audit;
mod bench;
mod chat;
mod conform;
mod convert;
mod demo;
mod generate;
mod guard;
mod inspect;
mod license;
mod load;
mod output;
mod pack;
mod policy;
mod quantize;
mod report;
mod score;
mod synth;
mod tokenize;

use clap::{Parser, Subcommand};

/// Guarded on-device Llama 4: quantized generation on this machine's CPU, every word judged on its way in and out.
#[derive(Parser)]
#[command(
    name = "palisade",
    version,
    about,
    max_term_width = 110,
    subcommand_required = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// The whole way on the model inside this program: licence, answers, a refusal, an answer stopped in mid-stream.
    Demo(demo::Args),
    /// Talk with a model.
    Chat(chat::Args),
    /// Answer one prompt.
    Generate(generate::Args),
    /// Judge given texts.
    Guard(guard::Args),
    /// Check, explain and sign guard policies.
    Policy(policy::Args),
    /// Verify and show audit logs.
    Audit(audit::Args),
    /// Test a host application's own wrapper of the C ABI, rule by rule.
    Conform(conform::Args),
    /// Text to token ids.
    Tokenize(tokenize::Args),
    /// Show or accept a model's licence.
    License(license::Args),
    /// Show what a model file holds: hyperparameters, bytes, licence, warnings.
    Inspect(inspect::Args),
    /// Log-probability of each given token id after those before it. Nothing is generated.
    Score(score::Args),
    /// Measure prefill and decode speed, load time and memory.
    Bench(bench::Args),
    /// Write a Hugging Face folder as a GGUF file.
    Convert(convert::Args),
    /// Write a GGUF file again with other block types.
    Quantize(quantize::Args),
    /// Write a GGUF file again in the order that the kernels read: it opens at the speed of the disk.
    Pack(pack::Args),
    /// Write a synthetic model of any shape.
    Synth(synth::Args),
}

fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    let result = match cli.command {
        Command::Demo(args) => demo::run(&args),
        Command::Chat(args) => chat::run(&args),
        Command::Generate(args) => generate::run(&args),
        Command::Guard(args) => guard::run(&args),
        Command::Policy(args) => policy::run(&args),
        Command::Audit(args) => audit::run(&args),
        Command::Conform(args) => conform::run(&args),
        Command::Tokenize(args) => tokenize::run(&args),
        Command::License(args) => license::run(&args),
        Command::Inspect(args) => inspect::run(&args),
        Command::Score(args) => score::run(&args),
        Command::Bench(args) => bench::run(&args),
        Command::Convert(args) => convert::run(&args),
        Command::Quantize(args) => quantize::run(&args),
        Command::Pack(args) => pack::run(&args),
        Command::Synth(args) => synth::run(&args),
    };
    output::finish(result)
}
