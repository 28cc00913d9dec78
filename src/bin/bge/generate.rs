//! `bge generate`, which is for packages: the manual's pages and what completes words in shells, laid
//! out as below `share`.

use std::fs;
use std::io;
use std::path::Path;

use clap::CommandFactory;
use clap_complete::{Shell, generate_to};

use crate::Cli;

/// Where each shell looks for what completes a command.
const SHELLS: [(Shell, &str, &str); 3] = [
    (Shell::Bash, "bash-completion/completions", "bge"),
    (Shell::Zsh, "zsh/site-functions", "_bge"),
    (Shell::Fish, "fish/vendor_completions.d", "bge.fish"),
];

pub(crate) fn run(folder: &Path) -> io::Result<()> {
    let command = || Cli::command().version(env!("CARGO_PKG_VERSION")).disable_version_flag(true);
    let manual = folder.join("man/man1");
    fs::create_dir_all(&manual)?;
    clap_mangen::generate_to(command().disable_help_subcommand(true), manual)?;
    for (shell, folder_of_shell, name) in SHELLS {
        let folder = folder.join(folder_of_shell);
        fs::create_dir_all(&folder)?;
        let written = generate_to(shell, &mut command(), "bge", &folder)?;
        fs::rename(written, folder.join(name))?;
    }
    Ok(())
}
