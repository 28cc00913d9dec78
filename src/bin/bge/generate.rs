//! `bge generate`, for packagers: the manual pages and shell completions, laid out as below
//! `share`.

use std::fs;
use std::io;
use std::path::Path;

use clap::{Command, CommandFactory};
use clap_complete::{Shell, generate_to};

use crate::cli::Cli;

/// The folder in which each shell looks for completions.
const SHELLS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "bge"),
    (Shell::Zsh, "zsh/site-functions", "_bge"),
    (Shell::Fish, "fish/vendor_completions.d", "bge.fish"),
];

pub(crate) fn run(folder: &Path) -> io::Result<()> {
    let manual = folder.join("man/man1");
    fs::create_dir_all(&manual)?;
    clap_mangen::generate_to(shown().disable_help_subcommand(true), manual)?;
    for (shell, folder_of_shell, name) in SHELLS {
        let folder = folder.join(folder_of_shell);
        fs::create_dir_all(&folder)?;
        let written = generate_to(shell, &mut shown(), "bge", &folder)?;
        fs::rename(written, folder.join(name))?;
    }
    Ok(())
}

/// The command without hidden subcommands, which completions would offer all the same.
fn shown() -> Command {
    let all = Cli::command();
    let about = all.get_about().cloned().unwrap_or_default();
    let after = all.get_after_help().cloned().unwrap_or_default();
    Command::new("bge")
        .version(env!("CARGO_PKG_VERSION"))
        .disable_version_flag(true)
        .about(about)
        .after_help(after)
        .subcommand_required(true)
        .args(all.get_arguments().cloned())
        .subcommands(all.get_subcommands().filter(|command| !command.is_hide_set()).cloned())
}
