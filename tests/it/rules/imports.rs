//! Imports in `src` run downward: no circle of files, and no arrow from a lower folder to a higher
//! one.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::LazyLock;

use regex::Regex;
use syn::visit::{self, Visit};
use syn::{Item, ItemMod, ItemUse, UseTree};

use crate::support::build::root;

/// The folders and files of `src`, from the ground up. A file imports from its own folder and from
/// those before it.
const FLOORS: &[&str] = &[
    "numbered",
    "error",
    "log",
    "memory",
    "part",
    "parallel",
    "stop",
    "device",
    "stats",
    "kernels",
    "similarity",
    "model_dir",
    "tokenize",
    "fingerprint",
    "graph",
    "runtime",
    "embeddings",
    "schedule",
    "options",
    "encoder",
    "info",
    "encode",
    "model",
    "open",
    "evaluate",
    "quantize_embeddings",
    "quantize_model",
    "ffi",
    "lib",
];

type ModulePath = Vec<String>;

/// The modules of the library by their path, without those that are compiled for tests only.
#[derive(Default)]
struct Modules {
    files: BTreeMap<ModulePath, syn::File>,
}

impl Modules {
    fn read() -> Self {
        let mut modules = Self::default();
        modules.add(Vec::new(), &root().join("src/lib.rs"));
        modules
    }

    fn add(&mut self, path: ModulePath, file: &Path) {
        let text =
            std::fs::read_to_string(file).unwrap_or_else(|e| panic!("{}: {e}", file.display()));
        let parsed = syn::parse_file(&text).unwrap();
        let folder = match file.file_stem().unwrap().to_str().unwrap() {
            "lib" | "mod" => file.parent().unwrap().to_path_buf(),
            _ => file.with_extension(""),
        };
        for item in &parsed.items {
            let Item::Mod(child) = item else { continue };
            if child.content.is_some() || is_for_tests(&child.attrs) {
                continue;
            }
            let name = child.ident.to_string();
            let candidates = [folder.join(format!("{name}.rs")), folder.join(&name).join("mod.rs")];
            let file: &PathBuf = candidates.iter().find(|file| file.is_file()).expect(&name);
            self.add([path.clone(), vec![name]].concat(), file);
        }
        self.files.insert(path, parsed);
    }

    /// The module that defines what a path from `crate` names, through all re-exports.
    fn definer(&self, path: &[String]) -> ModulePath {
        let depth =
            (0..=path.len()).rev().find(|&end| self.files.contains_key(&path[..end])).unwrap();
        let module = path[..depth].to_vec();
        let Some(name) = path.get(depth) else { return module };
        for (target, alias) in self.imports(&module) {
            if alias == *name && target != path {
                return self.definer(&target);
            }
        }
        module
    }

    /// The paths that a module imports, from `crate`, and the names that they get: `*` for all
    /// names of a module.
    fn imports(&self, module: &ModulePath) -> Vec<(ModulePath, String)> {
        let mut imports = Vec::new();
        for item in &self.files[module].items {
            if let Item::Use(item) = item
                && !is_for_tests(&item.attrs)
            {
                leaves(&item.tree, &mut Vec::new(), &mut |path, alias| {
                    imports.extend(self.absolute(module, path).map(|path| (path, alias)));
                });
            }
        }
        imports
    }

    /// A path within this crate from `crate` on; `None` for one of another crate.
    fn absolute(&self, module: &ModulePath, path: &[String]) -> Option<ModulePath> {
        let (mut base, mut rest) = match path.first()?.as_str() {
            "crate" => (Vec::new(), &path[1..]),
            "self" => (module.clone(), &path[1..]),
            "super" => (module.clone(), path),
            name => {
                let child = [module.clone(), vec![name.to_string()]].concat();
                return self
                    .files
                    .contains_key(&child)
                    .then(|| [module.clone(), path.to_vec()].concat());
            }
        };
        while rest.first().is_some_and(|part| part == "super") {
            base.pop();
            rest = &rest[1..];
        }
        Some([base, rest.to_vec()].concat())
    }

    /// Which module imports from which: by `use`, by a path, or by a path in a macro's arguments. A
    /// re-export alone needs nothing.
    fn arrows(&self) -> BTreeMap<ModulePath, BTreeSet<ModulePath>> {
        let mut arrows = BTreeMap::new();
        for (module, file) in &self.files {
            let mut names = Names::default();
            names.visit_file(file);
            let (globs, named): (Vec<_>, Vec<_>) =
                self.imports(module).into_iter().partition(|(_, alias)| alias == "*");
            let aliases: BTreeMap<String, ModulePath> =
                named.into_iter().map(|(path, alias)| (alias, path)).collect();
            let mut targets: BTreeSet<_> =
                globs.iter().map(|(path, _)| self.definer(path)).collect();
            for path in &names.paths {
                let target = match aliases.get(&path[0]) {
                    Some(alias) => Some([alias.clone(), path[1..].to_vec()].concat()),
                    None => self.absolute(module, path),
                };
                targets.extend(target.map(|target| self.definer(&target)));
            }
            targets.remove(module);
            arrows.insert(module.clone(), targets);
        }
        arrows
    }
}

static STRING: LazyLock<Regex> = LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*""#).unwrap());

/// Every path of a file outside of its tests and its imports.
#[derive(Default)]
struct Names {
    paths: BTreeSet<Vec<String>>,
}

impl Visit<'_> for Names {
    fn visit_item_mod(&mut self, item: &ItemMod) {
        if !is_for_tests(&item.attrs) {
            visit::visit_item_mod(self, item);
        }
    }

    fn visit_item_use(&mut self, _: &ItemUse) {}

    fn visit_visibility(&mut self, _: &syn::Visibility) {}

    fn visit_path(&mut self, path: &syn::Path) {
        self.paths.insert(path.segments.iter().map(|part| part.ident.to_string()).collect());
        visit::visit_path(self, path);
    }

    /// The arguments of a macro are no syntax, so every word in them counts that is not in a
    /// string.
    fn visit_macro(&mut self, item: &syn::Macro) {
        let text = item.tokens.to_string();
        let text = STRING.replace_all(&text, " ");
        let text = text.replace(" :: ", "::");
        for path in text.split(|c: char| !c.is_alphanumeric() && c != '_' && c != ':') {
            let is_keyword = ["crate", "super", "self"].contains(&path);
            if path.starts_with(|c: char| c.is_alphabetic()) && !is_keyword {
                self.paths.insert(path.split("::").map(str::to_string).collect());
            }
        }
        visit::visit_macro(self, item);
    }
}

fn is_for_tests(attributes: &[syn::Attribute]) -> bool {
    attributes.iter().any(|attribute| {
        attribute.path().is_ident("cfg")
            && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

fn leaves(tree: &UseTree, path: &mut ModulePath, found: &mut impl FnMut(&[String], String)) {
    match tree {
        UseTree::Path(part) => {
            path.push(part.ident.to_string());
            leaves(&part.tree, path, found);
            path.pop();
        }
        UseTree::Name(name) if name.ident == "self" => found(path, path.last().unwrap().clone()),
        UseTree::Name(name) => {
            let name = name.ident.to_string();
            found(&[path.clone(), vec![name.clone()]].concat(), name);
        }
        UseTree::Rename(name) => {
            let whole = [path.clone(), vec![name.ident.to_string()]].concat();
            found(&whole, name.rename.to_string());
        }
        UseTree::Group(group) => group.items.iter().for_each(|tree| leaves(tree, path, found)),
        UseTree::Glob(_) => found(path, "*".into()),
    }
}

/// The nodes of a graph that lie on circles, in the order in which they are found.
fn circle<T: Ord + Clone>(arrows: &BTreeMap<T, BTreeSet<T>>) -> Option<Vec<T>> {
    fn walk<T: Ord + Clone>(
        node: &T,
        arrows: &BTreeMap<T, BTreeSet<T>>,
        way: &mut Vec<T>,
        done: &mut BTreeSet<T>,
    ) -> Option<Vec<T>> {
        if let Some(start) = way.iter().position(|other| other == node) {
            return Some(way[start..].to_vec());
        }
        if done.contains(node) {
            return None;
        }
        way.push(node.clone());
        let found =
            arrows.get(node).into_iter().flatten().find_map(|next| walk(next, arrows, way, done));
        way.pop();
        done.insert(node.clone());
        found
    }
    let mut done = BTreeSet::new();
    arrows.keys().find_map(|node| walk(node, arrows, &mut Vec::new(), &mut done))
}

fn name(module: &ModulePath) -> String {
    if module.is_empty() { "lib".into() } else { module.join("/") }
}

#[test]
fn no_files_import_in_a_circle() {
    let arrows = Modules::read().arrows();
    assert!(arrows.len() > 100, "{} files", arrows.len());
    let circle = circle(&arrows);
    let names = circle.iter().flatten().map(name).collect::<Vec<_>>().join(" -> ");
    assert!(circle.is_none(), "these files import in a circle: {names}");
}

#[test]
fn no_folders_import_in_a_circle() {
    let arrows = Modules::read().arrows();
    let depth = arrows.keys().map(Vec::len).max().unwrap();
    for depth in 1..=depth {
        let folder = |module: &ModulePath| module[..depth.min(module.len())].to_vec();
        let mut folders: BTreeMap<ModulePath, BTreeSet<ModulePath>> = BTreeMap::new();
        for (module, targets) in &arrows {
            let from = folder(module);
            let others = targets.iter().map(folder).filter(|to| *to != from);
            folders.entry(from.clone()).or_default().extend(others);
        }
        let circle = circle(&folders);
        let names = circle.iter().flatten().map(name).collect::<Vec<_>>().join(" -> ");
        assert!(circle.is_none(), "these folders import in a circle: {names}");
    }
}

#[test]
fn imports_run_downward() {
    let floor = |module: &ModulePath| {
        let name = module.first().map_or("lib", String::as_str);
        let floor = FLOORS.iter().position(|floor| *floor == name);
        floor.unwrap_or_else(|| panic!("src/{name} has no floor: add it where its imports allow"))
    };
    for (module, targets) in Modules::read().arrows() {
        for target in targets {
            assert!(
                floor(&target) <= floor(&module),
                "src/{} imports from src/{}, which is on a higher floor",
                name(&module),
                name(&target)
            );
        }
    }
}
