//! The same graph for `ninja` and `make`: each target is a file, made by a command that creates it.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::measure::Round;
use crate::shape::{CONCURRENCIES, Shape};

pub(crate) fn write(dir: &Path, shape: &Shape) {
    fs::create_dir_all(dir.join("configs")).expect("a folder can be made");
    let mut edges = Vec::new();
    for image in 0..shape.images() {
        edges.push((format!("out/images/{image}"), "recipe.yaml".to_owned()));
    }
    let mut rows = Vec::new();
    for server in 0..shape.servers {
        fs::write(dir.join(format!("configs/{server}.yaml")), "0\n").expect("a file can be written");
        let image = Shape::image_of(server);
        let folder = format!("out/{server}");
        edges.push((
            format!("{folder}/server"),
            format!("out/images/{image} configs/{server}.yaml"),
        ));
        for conc in CONCURRENCIES {
            edges.push((format!("{folder}/bench-{conc}"), format!("{folder}/server")));
            edges.push((format!("{folder}/row-{conc}"), format!("{folder}/bench-{conc}")));
            rows.push(format!("{folder}/row-{conc}"));
        }
    }
    edges.push(("out/collect".to_owned(), rows.join(" ")));
    edges.push(("out/summarize".to_owned(), "out/collect".to_owned()));
    let mut ninja = "rule make\n  command = : > $out\n".to_owned();
    let mut makefile = "all: out/summarize\n".to_owned();
    for (target, needed) in &edges {
        let _ = writeln!(ninja, "build {target}: make {needed}");
        let _ = writeln!(makefile, "{target}: {needed}\n\t@: > $@");
    }
    for (name, text) in [
        ("build.ninja", ninja.as_str()),
        ("Makefile", &makefile),
        ("recipe.yaml", "0\n"),
    ] {
        fs::write(dir.join(name), text).expect("a file can be written");
    }
}

/// Builds everything once; `make` finds what `ninja` has made.
pub(crate) fn build(dir: &Path) {
    Round::of(&mut crate::command("ninja", &["--quiet"], dir));
    Round::of(&mut crate::command("make", &["-s", "-r", "-R"], dir));
}

/// Edits the first server's config.
pub(crate) fn edit(dir: &Path, round: usize) {
    fs::write(dir.join("configs/0.yaml"), format!("{round}\n")).expect("a file can be written");
}
