//! A combined script: server and client both run in the container, as InferenceX's do.

use sweep::exec::event::Event;

use crate::lab::{Lab, Plan};

/// A script of the shape of InferenceX's: a server in the background with its output in `server.log`, a wait for it,
/// the client, and what a monitor of the GPUs leaves. A client that was late on this busy machine says so by its exit
/// code and is taken all the same.
const SCRIPT: &str = r#"
set -eu
cd /workspace
sweep sim --port "$PORT" --gpu h100 --tp "$TP" --model "$MODEL" --time-scale 50 > server.log 2>&1 &
server=$!
until (: < "/dev/tcp/127.0.0.1/$PORT") 2> /dev/null; do
    kill -0 "$server"
done
sweep bench --port "$PORT" --model "$MODEL" --input-len "$ISL" --output-len "$OSL" --range-ratio "$RANDOM_RANGE_RATIO" \
    --max-concurrency "$CONC" --num-prompts $((CONC * 4)) --result-out "$RESULT_FILENAME.json" || true
echo "index, timestamp, power.draw [W]" > gpu_metrics.csv
"#;

fn lab(script: &str) -> Option<Lab> {
    let lab = Lab::new(&Plan {
        script,
        ..Plan::default()
    })?;
    let recipe = "match: { framework: one }\nrun: serve.sh\nwithin: 2m\n";
    lab.project.write("benchmarks/one/recipe.yaml", recipe);
    Some(lab)
}

#[test]
fn a_combined_script_measures_in_its_container() {
    let Some(lab) = lab(SCRIPT) else { return };
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 0, "{ran}");
    let started = |event: &&Event| matches!(event, Event::ScriptStarted { .. });
    assert_eq!(ran.story.0.iter().filter(started).count(), 2, "{ran}");
    assert_eq!(lab.project.simulated_rows("all").len(), 2);
    // What it left in its workspace is in the attempt.
    let files = lab.project.files(".cache/runs");
    for name in ["work/server.log", "work/gpu_metrics.csv", "work/bench.json"] {
        assert_eq!(
            files.iter().filter(|path| path.ends_with(name)).count(),
            2,
            "{name}: {files:#?}"
        );
    }
    lab.assert_nothing_left();
    let again = lab.sweep(&["build"]);
    assert!(again.code == 0 && again.story.0.is_empty(), "{again}");
}

#[test]
fn a_script_that_leaves_no_result_fails_with_its_last_words() {
    let Some(lab) = lab("echo 'torch.cuda.OutOfMemoryError'; exit 3") else {
        return;
    };
    let ran = lab.sweep(&["build"]);
    assert_eq!(ran.code, 1, "{ran}");
    let failures = ran.story.failures();
    let reason = failures["bench:one-fp8/64_16/tp1/c1"];
    assert!(reason.contains("the script failed (exit code 3)"), "{reason}");
    assert!(reason.contains("torch.cuda.OutOfMemoryError"), "{reason}");
    lab.assert_nothing_left();
}
