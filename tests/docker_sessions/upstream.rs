//! A combined script as InferenceX's are: it knows nothing of sweep, and finds its library, its client and its variables
//! where it expects them.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use crate::containers::Image;
use crate::lab::{Lab, Plan};
use crate::requirement::has_program;

/// Files of the project as they stand in InferenceX's repository, and what is in them.
const FILES: [(&str, &str); 3] = [
    (
        "benchmarks/single_node/fixed_seq_len/dsr1_fp8_h100.sh",
        include_str!("upstream/dsr1_fp8_h100.sh"),
    ),
    (
        "benchmarks/benchmark_lib.sh",
        include_str!("upstream/benchmark_lib.sh"),
    ),
    ("utils/bench_serving/benchmark_serving.py", "# the client\n"),
];

/// What is made for an image: programs of this machine, and stand-ins.
const PROGRAMS: [&str; 8] = ["bash", "cat", "curl", "date", "dirname", "sleep", "tail", "wc"];
const STAND_INS: [&str; 3] = ["python3", "nvidia-smi", "hf"];

fn program(name: &str) -> PathBuf {
    let places = ["/usr/bin", "/bin"].map(|folder| Path::new(folder).join(name));
    places.into_iter().find(|path| path.exists()).unwrap()
}

/// What an image of an engine has that such scripts need.
fn image() -> Image {
    let stand_ins = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/docker_sessions/upstream");
    let mut programs = vec![("sweep", PathBuf::from(env!("CARGO_BIN_EXE_sweep")))];
    programs.extend(PROGRAMS.map(|name| (name, program(name))));
    programs.extend(STAND_INS.map(|name| (name, stand_ins.join(name))));
    let programs: Vec<_> = programs
        .iter()
        .map(|(name, path)| (*name, path.as_path()))
        .collect();
    Image::of_programs(&programs, &["/bin/false"])
}

#[test]
fn a_script_of_inferencexs_shape_runs_as_it_is() {
    if !has_program("docker", "curl", &["--version"]) {
        return;
    }
    let Some(lab) = Lab::new(&Plan {
        image: "acme/engine:1",
        ..Plan::default()
    }) else {
        return;
    };
    lab.dockerd.load(&image(), "acme/engine:1");
    let [script, others @ ..] = FILES.map(|(path, _)| path);
    for (path, text) in FILES {
        lab.project.write(&format!("benchmarks/one/{path}"), text);
    }
    lab.project.write(
        "benchmarks/one/recipe.yaml",
        &format!("match: {{ framework: one }}\nrun: {script}\nfiles: {others:?}\nwithin: 2m\n"),
    );
    lab.project.replace(
        "runners/lab.yaml",
        "executor: docker",
        "executor: docker\nenv: { HF_HUB_CACHE: /mnt/hf_hub_cache }",
    );
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    lab.assert_nothing_left();

    // All that it leaves is in its workspace, and its output in its log.
    let files = lab.project.files(".cache/runs");
    let texts_of = |name: &str| -> Vec<String> {
        let named = files.iter().filter(|path| path.ends_with(name));
        named.map(|path| fs::read_to_string(path).unwrap()).collect()
    };
    let logs = texts_of("bench.log");
    assert_eq!(logs.len(), 2, "{files:#?}");
    for part in [
        "one H100",
        "/mnt/hf_hub_cache/meta-llama--Llama",
        "+ run_benchmark_serving --model",
        "samples in /workspace/gpu_metrics.csv",
    ] {
        assert!(logs.iter().all(|log| log.contains(part)), "no {part}: {logs:#?}");
    }
    let copied = files
        .iter()
        .filter(|path| path.ends_with("work/benchmarks/benchmark_lib.sh"));
    for file in copied {
        assert_eq!(
            fs::metadata(file).unwrap().permissions().mode() & 0o111,
            0o111,
            "{}",
            file.display()
        );
    }
    let servers = texts_of("work/server.log");
    assert!(
        servers.iter().all(|log| log.contains("listening on")),
        "{servers:?}"
    );
    assert_eq!(texts_of("work/gpu_metrics.csv").len(), 2);

    let rows = lab.project.simulated_rows("all");
    assert_eq!(rows.len(), 2, "{rows:?}");
    for row in rows {
        assert_eq!(row["power_valid"], 1, "{row}");
        let watts = row["avg_power_w"].as_f64().unwrap();
        assert!((watts - 400.0).abs() < 1e-6, "{row}");
        assert!(row["joules_per_output_token"].as_f64().unwrap() > 0.0, "{row}");
    }
}
