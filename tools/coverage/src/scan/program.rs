//! A program with the libraries that it would load, and the calls that can be reached from it.

use super::module::{Depth, Edge, Module, is_elf};
use super::tree::{Kind, Tree, resolve};
use anyhow::Result;
use std::collections::{BTreeMap, HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};

/// Where glibc's dynamic linker looks without further configuration on Debian and others.
const GLIBC_FOLDERS: [&str; 6] = [
    "/lib/x86_64-linux-gnu",
    "/usr/lib/x86_64-linux-gnu",
    "/lib64",
    "/usr/lib64",
    "/lib",
    "/usr/lib",
];
/// musl's default path.
const MUSL_FOLDERS: [&str; 3] = ["/lib", "/usr/local/lib", "/usr/lib"];

/// What musl's dynamic linker finds by name after it has relocated itself.
const LINKER_STAGES: [&str; 2] = ["__dls2b", "__dls3"];

/// Files of one root file system, libraries kept once read.
pub struct World {
    tree: Box<dyn Tree>,
    libraries: Mutex<HashMap<String, Option<Arc<Module>>>>,
    folders: Vec<String>,
}

/// How a call is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Way {
    /// The function that makes it.
    pub function: String,
    /// The file that the function is in.
    pub file: String,
    /// The function of the program's that leads there by a library, if it is not in the program itself.
    pub through: Option<String>,
}

/// What a program may ask of the kernel.
#[derive(Debug)]
pub struct Needs {
    /// Its path.
    pub path: String,
    /// How it is linked, for people.
    pub linkage: String,
    /// Calls by number, each with a way to it.
    pub calls: BTreeMap<u32, Way>,
    /// Functions that make calls with numbers known only at run time.
    pub unknown: Vec<Way>,
    /// Libraries that were not found.
    pub missing: Vec<String>,
    /// Whether it can load further libraries at run time.
    pub plugins: bool,
}

/// What a file is.
pub enum Scanned {
    /// A program.
    Program(Needs),
    /// A script, with its interpreter's path and what that needs, if it is there.
    Script(String, Option<Needs>),
    /// Not a program for this machine, and why.
    Other(&'static str),
}

impl World {
    /// The files of `tree`.
    pub fn new(tree: Box<dyn Tree>) -> Self {
        let folders = configured_folders(tree.as_ref(), "/etc/ld.so.conf", 0);
        Self {
            tree,
            libraries: Mutex::default(),
            folders,
        }
    }

    /// The tree itself.
    pub fn tree(&self) -> &dyn Tree {
        self.tree.as_ref()
    }

    /// What the file at `path` may ask of the kernel.
    pub fn scan(&self, path: &str) -> Result<Scanned> {
        let bytes = self.tree.read(path)?;
        if let Some(rest) = bytes.strip_prefix(b"#!") {
            let line = rest.split(|byte| *byte == b'\n').next().unwrap_or_default();
            let line = String::from_utf8_lossy(line);
            let mut words = line.split_whitespace();
            let mut interpreter = words.next().unwrap_or_default().to_owned();
            if interpreter.ends_with("/env")
                && let Some(name) = words.find(|word| !word.starts_with('-'))
            {
                interpreter = format!("/usr/bin/{name}");
            }
            let needs = match resolve(self.tree(), &interpreter) {
                Some((place, Kind::File)) if place != path => match self.scan(&place)? {
                    Scanned::Program(needs) => Some(needs),
                    _ => None,
                },
                _ => None,
            };
            return Ok(Scanned::Script(interpreter, needs));
        }
        if !bytes.starts_with(b"\x7fELF") {
            return Ok(Scanned::Other("neither ELF nor a script"));
        }
        if !is_elf(&bytes) {
            return Ok(Scanned::Other("an ELF file for another machine"));
        }
        let module = Module::parse(path, &bytes, Depth::Program)?;
        Ok(Scanned::Program(self.needs(module)))
    }

    fn needs(&self, module: Module) -> Needs {
        let mut load = Load {
            world: self,
            modules: Vec::new(),
            missing: Vec::new(),
        };
        let path = module.path.clone();
        load.all(module);
        let linkage = load.linkage();
        let plugins = load.modules[0]
            .imports
            .iter()
            .any(|name| name == "dlopen" || name == "dlmopen");
        let mut reach = Reach::new(&load.modules);
        reach.run();
        Needs {
            path,
            linkage,
            calls: reach.calls,
            unknown: reach.unknown,
            missing: load.missing,
            plugins,
        }
    }

    /// The library at `path`, read once.
    fn library(&self, path: &str) -> Option<Arc<Module>> {
        let mut known = self
            .libraries
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if let Some(module) = known.get(path) {
            return module.clone();
        }
        let module = self
            .tree
            .read(path)
            .ok()
            .filter(|bytes| is_elf(bytes))
            .and_then(|bytes| Module::parse(path, &bytes, Depth::Library).ok())
            .map(Arc::new);
        known.insert(path.to_owned(), module.clone());
        module
    }
}

/// The folders that a file like /etc/ld.so.conf names, with the files it includes (ldconfig(8)).
fn configured_folders(tree: &dyn Tree, file: &str, depth: u32) -> Vec<String> {
    let mut folders = Vec::new();
    let Some((place, Kind::File)) = resolve(tree, file) else {
        return folders;
    };
    let text = tree
        .read(&place)
        .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
        .unwrap_or_default();
    for line in text
        .lines()
        .map(|line| line.split('#').next().unwrap_or_default().trim())
    {
        match line.strip_prefix("include ") {
            Some(pattern) if depth < 4 => {
                let (folder, suffix) = pattern.trim().rsplit_once('/').unwrap_or(("/etc", pattern));
                let mut names = tree.list(folder).unwrap_or_default();
                names.sort();
                for name in names
                    .iter()
                    .filter(|name| name.ends_with(suffix.trim_start_matches('*')))
                {
                    folders.extend(configured_folders(
                        tree,
                        &format!("{folder}/{name}"),
                        depth + 1,
                    ));
                }
            }
            None if line.starts_with('/') => folders.push(line.to_owned()),
            _ => {}
        }
    }
    folders
}

/// Finds what the dynamic linker would load.
struct Load<'a> {
    world: &'a World,
    modules: Vec<Arc<Module>>,
    missing: Vec<String>,
}

impl Load<'_> {
    fn all(&mut self, program: Module) {
        let interpreter = program.interpreter.clone();
        let mut queue: VecDeque<(String, Vec<String>)> = VecDeque::new();
        let mut seen = HashSet::new();
        queue.extend(
            program
                .needed
                .iter()
                .map(|name| (name.clone(), origin(&program))),
        );
        self.modules.push(Arc::new(program));
        let linker = interpreter.as_deref().and_then(|path| self.open(path));
        if interpreter.is_some() && linker.is_none() {
            self.missing.extend(interpreter.clone());
        }
        let musl = interpreter
            .as_deref()
            .is_some_and(|path| path.contains("ld-musl"));
        while let Some((name, search)) = queue.pop_front() {
            // musl's C library is its dynamic linker.
            let is_linker = musl && (name.starts_with("libc.musl") || name == "libc.so");
            if is_linker || !seen.insert(name.clone()) {
                continue;
            }
            let Some(module) = self.find(&name, &search, musl) else {
                self.missing.push(name);
                continue;
            };
            if self.modules.iter().any(|known| known.path == module.path) {
                continue;
            }
            queue.extend(
                module
                    .needed
                    .iter()
                    .map(|name| (name.clone(), origin(&module))),
            );
            self.modules.push(module);
        }
        if let Some(linker) = linker
            && !self.modules.iter().any(|known| known.path == linker.path)
        {
            self.modules.push(linker);
        }
    }

    fn find(&self, name: &str, search: &[String], musl: bool) -> Option<Arc<Module>> {
        if name.contains('/') {
            return self.open(name);
        }
        let folders = if musl {
            &MUSL_FOLDERS[..]
        } else {
            &GLIBC_FOLDERS[..]
        };
        search
            .iter()
            .map(String::as_str)
            .chain(
                self.world
                    .folders
                    .iter()
                    .map(String::as_str)
                    .filter(|_| !musl),
            )
            .chain(folders.iter().copied())
            .find_map(|folder| self.open(&format!("{folder}/{name}")))
    }

    fn open(&self, path: &str) -> Option<Arc<Module>> {
        match resolve(self.world.tree(), path)? {
            (place, Kind::File) => self.world.library(&place),
            _ => None,
        }
    }

    fn linkage(&self) -> String {
        let program = &self.modules[0];
        if program.interpreter.is_none() && program.needed.is_empty() {
            return "static".to_owned();
        }
        let names: Vec<&str> = self.modules[1..]
            .iter()
            .map(|module| module.path.rsplit('/').next().unwrap_or_default())
            .collect();
        names.join(" ")
    }
}

/// The folders to look in first for what `module` needs.
fn origin(module: &Module) -> Vec<String> {
    let folder = module
        .path
        .rsplit_once('/')
        .map_or("", |(folder, _)| folder);
    module
        .search
        .iter()
        .map(|entry| {
            entry
                .replace("$ORIGIN", folder)
                .replace("${ORIGIN}", folder)
        })
        .collect()
}

/// A node: module, and function or datum in it.
type Node = (u16, Edge);

/// Goes from what surely runs to all that may.
struct Reach<'a> {
    modules: &'a [Arc<Module>],
    /// The first module that gives each name, found when asked for.
    names: HashMap<&'a str, Vec<Node>>,
    seen: HashSet<Node>,
    /// Nodes to look at, each with the program's import that led there.
    queue: VecDeque<(Node, Option<&'a str>)>,
    calls: BTreeMap<u32, Way>,
    unknown: Vec<Way>,
}

impl<'a> Reach<'a> {
    fn new(modules: &'a [Arc<Module>]) -> Self {
        Self {
            modules,
            names: HashMap::new(),
            seen: HashSet::new(),
            queue: VecDeque::new(),
            calls: BTreeMap::new(),
            unknown: Vec::new(),
        }
    }

    fn run(&mut self) {
        let modules = self.modules;
        let program = &modules[0];
        for index in 0..program.functions.len() {
            self.add((0, Edge::Function(index as u32)), None);
        }
        for name in &program.imports {
            for node in self.resolve(name) {
                self.add(node, Some(name));
            }
        }
        for (number, module) in (0_u16..).zip(modules) {
            for root in &module.roots {
                self.add((number, *root), None);
            }
            let linker = module.needed.is_empty() && number > 0;
            if linker && let Some(entry) = module.entry {
                self.add((number, entry), None);
                for edge in LINKER_STAGES
                    .iter()
                    .filter_map(|name| module.exports.get(*name))
                    .flatten()
                {
                    self.add((number, *edge), None);
                }
            }
        }
        while let Some((node, through)) = self.queue.pop_front() {
            self.visit(node, through);
        }
    }

    fn add(&mut self, node: Node, through: Option<&'a str>) {
        if self.seen.insert(node) {
            self.queue.push_back((node, through));
        }
    }

    fn visit(&mut self, (number, edge): Node, through: Option<&'a str>) {
        let modules = self.modules;
        let module = &modules[usize::from(number)];
        let edges = match edge {
            Edge::Function(index) => {
                self.note(number, index, through);
                &module.functions[index as usize].edges
            }
            Edge::Datum(index) => &module.data[index as usize].edges,
            Edge::Import(index) => {
                for node in self.resolve(&module.imports[index as usize]) {
                    self.add(node, through);
                }
                return;
            }
        };
        // All imports of the program have been added with their names.
        for edge in edges {
            self.add((number, *edge), through);
        }
    }

    fn note(&mut self, number: u16, index: u32, through: Option<&'a str>) {
        let modules = self.modules;
        let module = &modules[usize::from(number)];
        let numbers = &module.functions[index as usize].numbers;
        if numbers.constants.is_empty() && !numbers.unknown {
            return;
        }
        let way = Way {
            function: module.function_name(index),
            file: module
                .path
                .rsplit('/')
                .next()
                .unwrap_or_default()
                .to_owned(),
            through: through.filter(|_| number > 0).map(str::to_owned),
        };
        for constant in &numbers.constants {
            if let Ok(call) = u32::try_from(*constant) {
                self.calls.entry(call).or_insert_with(|| way.clone());
            }
        }
        if numbers.unknown {
            self.unknown.push(way);
        }
    }

    fn resolve(&mut self, name: &'a str) -> Vec<Node> {
        if let Some(nodes) = self.names.get(name) {
            return nodes.clone();
        }
        let nodes: Vec<Node> = (0_u16..)
            .zip(self.modules)
            .find_map(|(number, module)| {
                let edges = module.exports.get(name)?;
                Some(edges.iter().map(|edge| (number, *edge)).collect())
            })
            .unwrap_or_default();
        self.names.insert(name, nodes.clone());
        nodes
    }
}
