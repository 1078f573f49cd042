//! A build with nothing to do, answered by a compiled plan.

#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod project;
mod requirement;

use std::collections::BTreeSet;
use std::fs;
use std::process::Command;

use serde_json::Value;

use project::{Project, Ran, wait_until};
use requirement::has_program;

/// A usual project after its first build.
fn built() -> Project {
    let project = Project::new();
    let first = project.sweep(&["build"]);
    assert_eq!(first.code, 0, "{first}");
    project
}

/// The events on standard output.
fn events(ran: &Ran) -> Vec<Value> {
    assert_eq!(ran.code, 0, "{ran}");
    let lines = ran.stdout.lines();
    lines.map(|line| serde_json::from_str(line).unwrap()).collect()
}

fn is_reused(ran: &Ran) -> bool {
    events(ran).iter().any(|event| event["event"] == "plan-reused")
}

/// Builds until a plan answers: what was written within the last two seconds is not trusted to stay as it looks.
fn reused(project: &Project) -> Ran {
    wait_until("a plan to answer", || {
        let ran = project.sweep(&["build", "--format", "json"]);
        is_reused(&ran).then_some(ran)
    })
}

#[test]
fn a_plan_answers_without_reading_the_project_and_says_what_reading_it_says() {
    let project = built();
    let ran = reused(&project);
    let told = events(&ran);
    assert_eq!(told.len(), 2, "{ran}");
    // A trace, a row and a raw result for each of ten points, the collection and the summary.
    assert_eq!(told[0]["outputs"], 32, "{ran}");
    assert_eq!(
        (&told[1]["event"], &told[1]["fresh"]),
        (&"run-finished".into(), &10.into())
    );

    // For people: the first reads the project and keeps a plan, the second is answered by it.
    let summary = project.beside("step-summary");
    let build = || {
        let mut command = project.command(&["build"]);
        command.env("GITHUB_STEP_SUMMARY", &summary);
        project.run(command)
    };
    let (read, answered) = (build(), build());
    assert_eq!(read.code, 0, "{read}");
    assert_eq!((&read.stdout, &read.stderr), (&answered.stdout, &answered.stderr));
    assert!(answered.stdout.contains("SIMULATED"), "{answered}");
    assert!(answered.stderr.contains("10 from the cache"), "{answered}");
    let text = project.read("results/all/summary.md");
    assert_eq!(fs::read_to_string(summary).unwrap(), format!("{text}\n{text}\n"));

    // A file that is edited is read; one that is only touched is known by its bytes.
    let file = "configs/runners.yaml";
    project.replace(file, "h100-lab_00", "h100-lab_01");
    let json = || project.sweep(&["build", "--format", "json"]);
    let ran = json();
    assert!(!is_reused(&ran), "{ran}");
    project.write(file, &project.read(file));
    let ran = json();
    assert!(is_reused(&ran), "{ran}");
}

#[test]
fn what_changed_in_the_cache_or_in_the_results_is_not_answered_by_a_plan() {
    let project = built();
    reused(&project);
    let json = || project.sweep(&["build", "--format", "json"]);

    let file = "results/all/agg_bmk.simulated.json";
    let rows = project.read(file);
    fs::remove_file(project.path(file)).unwrap();
    let ran = json();
    assert!(!is_reused(&ran) && ran.story.0.is_empty(), "{ran}");
    assert_eq!(project.read(file), rows, "the results are brought in line");

    reused(&project);
    project.write("results/all/agg_bmk.json", "[]");
    assert!(!is_reused(&json()));
    assert!(!project.path("results/all/agg_bmk.json").exists());

    // A row of the right size with other bytes is found out, and made again from its trace.
    reused(&project);
    let row = project.files(".cache/cas").into_iter().find(|path| {
        let text = fs::read_to_string(path).unwrap_or_default();
        text.starts_with('{') && text.contains("tput_per_gpu")
    });
    let row = row.unwrap();
    let text = fs::read_to_string(&row).unwrap();
    fs::remove_file(&row).unwrap();
    fs::write(&row, text.replacen("true", "null", 1)).unwrap();
    let ran = json();
    assert_eq!(ran.story.processed().len(), 1, "{ran}");
    assert!(ran.story.benches_started().is_empty(), "{ran}");
    assert_eq!(fs::read_to_string(&row).unwrap(), text);

    // What was asked in other words, or is to be measured again, is no question for this plan.
    reused(&project);
    assert!(!is_reused(
        &project.sweep(&["build", "alpha-*", "--format", "json"])
    ));
    let forced = project.sweep(&["build", "alpha-*/**/c1", "--rerun", "--format", "json"]);
    assert_eq!(forced.story.benches_passed().len(), 1, "{forced}");
    assert!(!is_reused(&json()), "the log has grown");
}

/// Edits of one config each, which change what is to be measured.
const EDITS: [(&str, &str, &str); 7] = [
    ("alpha-fp8-h100-sglang", "sglang:v0.5.1", "sglang:v0.5.2"),
    ("delta-fp4-h100-vllm", "conc-list: [1, 2]", "conc-list: [1, 2, 4]"),
    ("gamma-fp8-h100-vllm", "conc-list: [1, 2]", "conc-list: [2]"),
    (
        "beta-fp4-h100-sglang",
        "beta-fp4-h100-sglang:",
        "omega-fp4-h100-sglang:",
    ),
    // What `alpha` is: the two share a server then.
    ("beta-fp4-h100-sglang", "precision: fp4", "precision: fp8"),
    ("gamma-fp8-h100-vllm", "framework: vllm", "framework: none"),
    ("gamma-fp8-h100-vllm", "runner: h100", "runner: h100_9"),
];

/// After an edit `sweep plan` reads what was edited, and says what reading everything says.
#[test]
fn a_plan_of_edited_configs_is_the_plan_of_all_configs() {
    let project = built();
    reused(&project);
    if has_program("strace", "strace", &["-qq", "true"]) {
        // One of what has settled, whose looks tell enough.
        fs::remove_dir_all(project.path(".cache/plan")).unwrap();
        assert_eq!(project.sweep(&["build"]).code, 0);
        assert_eq!(opened(&project, &traced(&project, "plan")), [""; 0]);
    }
    let first = project.read("configs/master.yaml");
    let says_the_same = |edit: &str| {
        for words in [
            &["plan"][..],
            &["plan", "--format", "json"],
            &["plan", "--locked"],
        ] {
            let of_edited = project.sweep(words);
            let (plans, aside) = (project.path(".cache/plan"), project.beside("plans"));
            fs::rename(&plans, &aside).unwrap();
            let of_all = project.sweep(words);
            fs::rename(&aside, &plans).unwrap();
            assert_eq!(
                (of_edited.code, &of_edited.stdout, &of_edited.stderr),
                (of_all.code, &of_all.stdout, &of_all.stderr),
                "{edit}: {words:?}"
            );
        }
        project.sweep(&["plan"]).stdout
    };
    let whole = says_the_same("nothing");
    assert!(whole.contains("10 points: 0 stale, 10 fresh"), "{whole}");
    for (key, old, new) in EDITS {
        project.edit_config(key, old, new);
        let told = says_the_same(&format!("{key}: {new}"));
        assert_ne!(told, whole, "{key}: {new}");
        project.write("configs/master.yaml", &first);
        assert_eq!(says_the_same("taken back"), whole);
    }
    project.write("configs/master.yaml", &format!("{first}more:\n  image: one\n"));
    says_the_same("one that is wrong");
    project.write("configs/master.yaml", &first.replacen("\n", "  # nothing\n", 1));
    says_the_same("a comment");
}

/// The paths that a command looks at, with the system calls.
fn traced(project: &Project, command: &str) -> Vec<(String, String)> {
    let log = project.beside("strace");
    let plain = project.command(&[command]);
    let mut command = Command::new("strace");
    command
        .args(["-f", "-qq", "-e", "trace=%file,getdents64", "-y", "-o"])
        .arg(&log)
        .arg(plain.get_program())
        .args(plain.get_args())
        .current_dir(project.root())
        // Test runners set it, and the loader then searches many folders.
        .env_remove("LD_LIBRARY_PATH");
    let output = command.output().unwrap();
    assert!(output.status.success(), "{output:?}");
    let text = fs::read_to_string(log).unwrap();
    let calls = text.lines().filter_map(|line| {
        let (call, rest) = line.split_once(' ')?.1.trim_start().split_once('(')?;
        // Relative to a folder that is open: `3</root>, "configs/a.yaml"`.
        let folder = rest
            .split_once('<')
            .filter(|(fd, _)| fd.bytes().all(|b| b.is_ascii_digit()));
        let folder = folder
            .and_then(|(_, rest)| rest.split_once('>'))
            .map_or("", |(folder, _)| folder);
        let path = rest.split('"').nth(1).unwrap_or_default();
        let path = match (path.starts_with('/'), folder, path) {
            (true, ..) | (_, "", _) => path.to_owned(),
            (_, folder, "") => folder.to_owned(),
            (_, folder, path) => format!("{folder}/{path}"),
        };
        Some((call.to_owned(), path))
    });
    calls.collect()
}

/// The plan has to watch whatever a build looks at: a read that is added elsewhere and not told to it is found here.
#[test]
fn a_plan_rests_on_everything_that_a_build_looks_at() {
    let project = built();
    reused(&project);
    fs::remove_dir_all(project.path(".cache/plan")).unwrap();
    if !has_program("strace", "strace", &["-qq", "true"]) {
        return;
    }
    let read = traced(&project, "build");
    let plans = project.files(".cache/plan");
    // One for a build, and the parts of it for a plan after an edit: they rest on the same.
    let [plan, _] = plans.as_slice() else {
        panic!("two plans are kept, not {plans:?}");
    };
    let plan = fs::read(plan).unwrap();
    let root = format!("{}/", project.root().display());
    let watches = |path: &str| {
        let path = format!("{path}\0");
        plan.windows(path.len()).any(|window| window == path.as_bytes())
    };
    let names_blob = |path: &str| {
        let hex = path.replace('/', "");
        let digest: Option<sweep::cache::Digest> = hex.parse().ok();
        digest.is_some_and(|digest| plan.windows(32).any(|window| window == digest.0))
    };
    let mut unwatched = BTreeSet::new();
    for (_, path) in &read {
        let is_known = match path.strip_prefix(&root).map(|path| path.trim_start_matches("./")) {
            Some(path) => {
                let of_the_cache_itself = [
                    ".cache",
                    ".cache/plan",
                    ".cache/cas",
                    ".cache/stat",
                    "results",
                    "results/all",
                ];
                let blob = path.strip_prefix(".cache/cas/");
                of_the_cache_itself.contains(&path)
                    || path.starts_with(".cache/plan/")
                    || path.starts_with(".cache/stat/")
                    || blob.is_some_and(names_blob)
                    || watches(path)
                    || watches(&format!("{root}{path}"))
            }
            // The program, its libraries, and the way to the root. No processor is a fact of a pool here.
            None => {
                let of_itself = path.strip_prefix("/proc/").is_some_and(|path| {
                    path.starts_with(|c: char| c.is_ascii_digit()) || path.starts_with("self/")
                });
                let system = ["/etc/", "/usr/", "/sys/fs/cgroup", "/dev/"];
                let is_system = path.contains("/lib") || system.iter().any(|prefix| path.starts_with(prefix));
                let is_above = root.starts_with(&format!("{}/", path.trim_end_matches('/')));
                of_itself
                    || is_system
                    || is_above
                    || path == env!("CARGO_BIN_EXE_sweep")
                    || !path.starts_with('/')
            }
        };
        if !is_known {
            unwatched.insert(path.as_str());
        }
    }
    assert!(unwatched.is_empty(), "{unwatched:#?}");
    assert!(
        read.iter().any(|(_, path)| path.ends_with("configs/master.yaml")),
        "the trace has something to tell"
    );

    // And with the plan not one file that users write is opened.
    assert_eq!(opened(&project, &traced(&project, "build")), [""; 0]);
}

/// Of these calls those that open what users write.
fn opened<'a>(project: &Project, calls: &'a [(String, String)]) -> Vec<&'a str> {
    let root = format!("{}/", project.root().display());
    let of_users = calls.iter().filter(|(call, path)| {
        call.starts_with("open") && path.starts_with(&root) && !path.contains("/.cache") && *path != root
    });
    of_users.map(|(_, path)| path.as_str()).collect()
}
