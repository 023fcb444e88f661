//! The structure of the two crates, read from their sources: layers whose imports point one way, and no circles between files.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use syn::visit::{Visit, visit_item, visit_path};
use syn::{Attribute, Item, ItemUse, UseTree};

/// The folders and single files of this crate, the lowest layer first. A file imports from its own folder and from lower layers.
const LAYERS: [&str; 17] = [
    "logging",
    "concurrency",
    "aws",
    "startup",
    "store",
    "people",
    "authorizer",
    "audit",
    "keys",
    "legacy",
    "tokens",
    "sessions",
    "leaks",
    "users",
    "usage",
    "events",
    "api",
];

/// The beginnings of names of crates that `keygate-core` must not depend on.
const NOT_IN_CORE: [&str; 6] = ["aws", "tokio", "lambda", "hyper", "http", "rustls"];

/// The modules of a crate that are files, and the modules that each of them names outside of its unit tests.
type Imports = BTreeMap<String, BTreeSet<String>>;

#[test]
fn no_file_imports_one_that_imports_it() {
    for name in ["core", "service"] {
        let imports = imports(&shared().join(name).join("src"));
        assert!(imports.len() > 20, "the sources of {name} are found");
        let circles = imports.keys().filter_map(|module| way(&imports, module, module));
        let circles: Vec<_> = circles.map(|circle| circle.join(" -> ")).collect();
        assert_eq!(circles, [""; 0], "{name}");
    }
}

#[test]
fn no_file_imports_from_a_layer_above_it() {
    let layer = |module: &str| {
        let top = module.split("::").next().unwrap_or_default();
        let position = LAYERS.iter().position(|layer| *layer == top);
        position.unwrap_or_else(|| panic!("{top} is in no layer"))
    };
    let imports = imports(&shared().join("service/src"));
    for (module, imported) in imports.iter().filter(|(module, _)| *module != "lib" && *module != "structure")
    {
        let above: Vec<_> = imported.iter().filter(|imported| layer(module) < layer(imported)).collect();
        assert!(above.is_empty(), "{module} imports {above:?}");
    }
    let tops: BTreeSet<_> =
        imports.keys().map(|module| module.split("::").next().unwrap_or_default()).collect();
    assert!(LAYERS.iter().all(|layer| tops.contains(layer)), "a layer has no file: {tops:?}");
}

#[test]
fn the_core_depends_on_no_crate_of_aws_lambda_or_an_async_runtime() {
    let lock = std::fs::read_to_string(shared().join("../Cargo.lock")).expect("Cargo.lock");
    let mut dependencies = BTreeMap::<&str, Vec<&str>>::new();
    for package in lock.split("[[package]]").skip(1) {
        let name = package
            .lines()
            .find_map(|line| line.strip_prefix("name = \"")?.strip_suffix('"'))
            .expect("a name");
        let listed =
            package.lines().filter_map(|line| line.trim().strip_prefix('"')?.split([' ', '"']).next());
        dependencies.entry(name).or_default().extend(listed);
    }
    let (mut reached, mut next) = (BTreeSet::new(), vec!["keygate-core"]);
    while let Some(name) = next.pop() {
        if reached.insert(name) {
            next.extend(&dependencies[name]);
        }
    }
    assert!(reached.contains("serde") && reached.contains("hmac"), "{reached:?}");
    let unwanted = |name: &&&str| NOT_IN_CORE.iter().any(|beginning| name.starts_with(beginning));
    assert_eq!(reached.iter().filter(unwanted).count(), 0, "{reached:?}");
}

/// The folder of the crates.
fn shared() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("the folder of the crates").to_owned()
}

/// A way from a module over what it imports to another one, or around to itself.
fn way(imports: &Imports, from: &str, to: &str) -> Option<Vec<String>> {
    let mut seen = BTreeSet::new();
    let mut ways = vec![vec![from.to_owned()]];
    while let Some(way) = ways.pop() {
        for next in &imports[way.last()?] {
            let mut longer = way.clone();
            longer.push(next.clone());
            if next == to {
                return Some(longer);
            }
            if seen.insert(next.clone()) {
                ways.push(longer);
            }
        }
    }
    None
}

/// Reads the sources below a folder.
fn imports(folder: &Path) -> Imports {
    let files: BTreeMap<String, PathBuf> =
        files(folder).into_iter().map(|file| (module(folder, &file), file)).collect();
    let mut imports = Imports::new();
    for (module, file) in &files {
        let source = std::fs::read_to_string(file).expect("a source");
        let mut named = Named { module, is_folder: file.ends_with("mod.rs"), paths: BTreeSet::new() };
        named.visit_file(&syn::parse_file(&source).expect("Rust"));
        let found =
            named.paths.iter().filter_map(|path| longest(&files, path)).filter(|found| found != module);
        imports.insert(module.clone(), found.collect());
    }
    imports
}

/// The file that a path leads to: the longest beginning of it that is a module with a file.
fn longest(files: &BTreeMap<String, PathBuf>, path: &str) -> Option<String> {
    let mut path = path;
    loop {
        if files.contains_key(path) {
            return Some(path.to_owned());
        }
        (path, _) = path.rsplit_once("::")?;
    }
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("a folder").map(|entry| entry.expect("an entry").path());
    entries
        .flat_map(|path| if path.is_dir() { files(&path) } else { vec![path] })
        .filter(|path| path.extension().is_some_and(|extension| extension == "rs"))
        .collect()
}

/// The module of a file: `store::keys` for `store/keys.rs`, `store` for `store/mod.rs`.
fn module(folder: &Path, file: &Path) -> String {
    let path = file.strip_prefix(folder).expect("a file of the folder").with_extension("");
    let path = path.to_str().expect("UTF-8").replace('/', "::");
    path.strip_suffix("::mod").unwrap_or(&path).to_owned()
}

/// Collects the paths of a file that begin in its own crate.
struct Named<'a> {
    module: &'a str,
    is_folder: bool,
    paths: BTreeSet<String>,
}

impl Named<'_> {
    fn add(&mut self, path: &[String]) {
        let parent = || self.module.rsplit_once("::").map_or("", |(parent, _)| parent).to_owned();
        let (begin, rest) = match path.first().map(String::as_str) {
            Some("crate") => (String::new(), &path[1..]),
            Some("super") => (parent(), &path[1..]),
            Some("self") => (self.module.to_owned(), &path[1..]),
            // `use keys::KeysTable` in the file of the folder.
            Some(_) if self.is_folder => (self.module.to_owned(), path),
            _ => return,
        };
        let segments = begin.split("::").filter(|segment| !segment.is_empty()).map(str::to_owned);
        self.paths.insert(segments.chain(rest.iter().cloned()).collect::<Vec<_>>().join("::"));
    }

    fn add_tree(&mut self, before: &[String], tree: &UseTree) {
        let with = |name: String| [before, &[name]].concat();
        match tree {
            UseTree::Path(path) => self.add_tree(&with(path.ident.to_string()), &path.tree),
            UseTree::Name(name) => self.add(&with(name.ident.to_string())),
            UseTree::Rename(rename) => self.add(&with(rename.ident.to_string())),
            UseTree::Glob(_) => self.add(before),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.add_tree(before, tree)),
        }
    }
}

impl<'ast> Visit<'ast> for Named<'_> {
    fn visit_item(&mut self, item: &'ast Item) {
        let attributes = match item {
            Item::Mod(module) => &module.attrs,
            Item::Use(import) => &import.attrs,
            Item::Fn(function) => &function.attrs,
            _ => return visit_item(self, item),
        };
        if !attributes.iter().any(is_for_tests) {
            visit_item(self, item);
        }
    }

    fn visit_item_use(&mut self, import: &'ast ItemUse) {
        self.add_tree(&[], &import.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<_> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        if segments.len() > 1 && matches!(segments[0].as_str(), "crate" | "super" | "self") {
            self.add(&segments);
        }
        visit_path(self, path);
    }
}

fn is_for_tests(attribute: &Attribute) -> bool {
    attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Ident>().is_ok_and(|flag| flag == "test")
}
