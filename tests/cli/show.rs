//! `sweep show`.

use super::{Project, built, refused, steady, told};

const POINT: &str = "delta-fp4-h100-vllm/64_16/tp4/c2";

#[test]
fn every_input_of_each_kind_one_by_one() {
    let project = Project::new();
    let show = |target: &str| keys_hidden(&told(&project, &["show", target]));
    insta::assert_snapshot!(show("image:vllm/vllm-openai:v0.11.0"), @"
    image:vllm/vllm-openai:v0.11.0
    key  KEY
    needed by  3 targets

    inputs
      image  vllm/vllm-openai:v0.11.0
    ");
    insta::assert_snapshot!(show(&format!("server:{POINT}")), @"
    server:delta-fp4-h100-vllm/64_16/tp4/c2
    key  KEY
    needs  image:vllm/vllm-openai:v0.11.0
    needed by  1 target

    inputs
      image                    vllm/vllm-openai:v0.11.0
      model                    openai/gpt-oss-120b
      server script            serve.sh
      server env MAX_NUM_SEQS  2
      server env MODEL         openai/gpt-oss-120b
      server env TP            4
      server file serve.sh     benchmarks/vllm/serve.sh (b18470c99d99)
      hardware gpu             h100
      hardware gpus            4 of 8 on 1 node
      hardware share           exclusive
      simulated                sweep sim 1: sim --gpu h100 --tp 4 --pp 1 --ep 1 --model openai/gpt-oss-120b --precision fp4 --spec-decoding none --seed 0 --time-scale 100 --stream-interval 16 --max-num-seqs 512 --max-num-batched-tokens 8192 --max-model-len 131072 --load-time 0 --host 127.0.0.1 --port 0
    ");
    insta::assert_snapshot!(show(POINT), @r#"
    bench:delta-fp4-h100-vllm/64_16/tp4/c2
    key  KEY
    needs  server:delta-fp4-h100-vllm/64_16/tp4/c2
    needed by  1 target

    inputs
      image                       vllm/vllm-openai:v0.11.0
      model                       openai/gpt-oss-120b
      server script               serve.sh
      server env MAX_NUM_SEQS     2
      server env MODEL            openai/gpt-oss-120b
      server env TP               4
      server file serve.sh        benchmarks/vllm/serve.sh (b18470c99d99)
      hardware gpu                h100
      hardware gpus               4 of 8 on 1 node
      hardware share              exclusive
      simulated                   sweep sim 1: sim --gpu h100 --tp 4 --pp 1 --ep 1 --model openai/gpt-oss-120b --precision fp4 --spec-decoding none --seed 0 --time-scale 100 --stream-interval 16 --max-num-seqs 512 --max-num-batched-tokens 8192 --max-model-len 131072 --load-time 0 --host 127.0.0.1 --port 0
      client                      sweep bench 1
      workload api                completions
      workload extra-body         {}
      workload ignore-eos         true
      workload input-len          64
      workload load               {"closed":{"concurrency":2}}
      workload model              openai/gpt-oss-120b
      workload output-len         16
      workload prompt-form        token-ids
      workload prompts            8
      workload range-ratio        0.8
      workload request-timeout-s  1800
      workload seed               8257937930692128
      workload stream-usage       true
      workload temperature        0.0
      workload vocab              [1000,30001]
      workload warmup             2
      isolation                   POST /reset_prefix_cache between points
      limit failed-share          0.05
      limit client-lag-us         60000000
      limit client-cpu            1
      trial                       0
    "#);
    insta::assert_snapshot!(show(&format!("process:{POINT}")), @"
    process:delta-fp4-h100-vllm/64_16/tp4/c2
    key  not known yet: it is taken over the content of what comes before
    needs  bench:delta-fp4-h100-vllm/64_16/tp4/c2
    needed by  0 targets
    ");
    assert_eq!(show(POINT), show(&format!("bench:{POINT}")));
}

/// Keys, which change with the version of whatever enters them, as `KEY`.
fn keys_hidden(text: &str) -> String {
    let hidden = text
        .split_inclusive('\n')
        .map(|line| match line.strip_prefix("key  ") {
            Some(key) if key.trim_end().chars().all(|c| c.is_ascii_hexdigit()) => "key  KEY\n",
            _ => line,
        });
    hidden.collect()
}

#[test]
fn after_a_build_the_keys_over_contents_and_the_last_records() {
    let project = Project::new();
    built(&project, &["delta-*"]);
    let shown = |target: &str| project.json(&["show", target, "--format", "json"]);
    for target in [
        POINT.to_owned(),
        format!("process:{POINT}"),
        "collect:delta-all".to_owned(),
        "summarize:delta-all".to_owned(),
    ] {
        let shown = shown(&target);
        assert!(shown["key"].is_string(), "{shown}");
        assert_eq!(shown["last"]["same_key"], true, "{shown}");
        assert_eq!(shown["last"]["passed"], true, "{shown}");
    }
    let names = |target: &str| -> Vec<String> {
        let shown = shown(target);
        let inputs = shown["inputs"]["entries"].as_array().unwrap();
        inputs
            .iter()
            .map(|input| input[0].as_str().unwrap().to_owned())
            .collect()
    };
    insta::assert_snapshot!(names(&format!("process:{POINT}")).join("\n"), @"
    trace
    dialect
    row conc
    row config
    row framework
    row image
    row isl
    row model
    row model_prefix
    row osl
    row precision
    row runner
    row scenario
    row spec_decoding
    row topology
    ");
    insta::assert_snapshot!(names("collect:delta-all").join("\n"), @"
    form
    process:delta-fp4-h100-vllm/64_16/tp4/c1
    process:delta-fp4-h100-vllm/64_16/tp4/c2
    ");
    insta::assert_snapshot!(names("summarize:delta-all").join("\n"), @"
    form
    sweep
    collection
    ");
    let text = steady(&project, &told(&project, &["show", POINT]));
    let last = text.split("last record").nth(1).unwrap();
    assert!(last.contains("passed with this key, run RUN on HOST"), "{text}");
    assert!(last.contains("SIMULATED: a simulated engine answered"), "{text}");
    assert!(
        last.contains("pool: sim") && last.contains("server_start_ms: "),
        "{text}"
    );
}

#[test]
fn after_a_revert_the_record_in_use_is_not_the_last_one() {
    let project = Project::new();
    let build = || assert_eq!(project.sweep(&["build", "delta-*/**/c2"]).code, 0);
    build();
    let config = "delta-fp4-h100-vllm";
    project.edit_config(config, "v0.11.0", "v0.11.1");
    build();
    project.edit_config(config, "v0.11.1", "v0.11.0");
    let text = steady(&project, &told(&project, &["show", POINT]));
    let (_, records) = text.split_once("record in use").unwrap();
    let (used, last) = records.split_once("last record").unwrap();
    assert!(used.contains("passed with this key, run 2"), "{text}");
    assert!(last.contains("passed with another key, run RUN"), "{text}");
    let shown = project.json(&["show", POINT, "--format", "json"]);
    assert_eq!(shown["in_use"]["same_key"], true, "{shown}");
}

#[test]
fn nothing_secret_and_nothing_of_this_machine_is_an_input() {
    let project = Project::new();
    let mut command = project.command(&["show", POINT, "--format", "json"]);
    command.env("SWEEP_TEST_SECRET", "hunter2");
    let with_secret = project.run(command);
    assert_eq!(with_secret.code, 0, "{with_secret}");
    assert_eq!(
        with_secret.stdout,
        told(&project, &["show", POINT, "--format", "json"])
    );
    let root = project.root().to_str().unwrap();
    assert!(!with_secret.stdout.contains(root), "{with_secret}");
    // The pool's name and size decide where and when, not what.
    let key = || project.json(&["show", POINT, "--format", "json"])["key"].clone();
    let before = key();
    project.replace("Sweepfile", "sim: {", "other-name: {");
    project.replace("Sweepfile", "nodes: 2", "nodes: 1");
    project.replace("Sweepfile", "secrets: [SWEEP_TEST_SECRET]", "secrets: []");
    assert_eq!(key(), before);
    project.replace("Sweepfile", "time-scale: 100", "time-scale: 50");
    assert_ne!(key(), before);
}

#[test]
fn what_there_is_not() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, &["show", "image:vllm/vllm-openai:v0.11.2"], 4), @"
    error: there is no target `image:vllm/vllm-openai:v0.11.2`
     |
     = help: did you mean `image:vllm/vllm-openai:v0.11.0`, `image:lmsysorg/sglang:v0.5.1`?
    ");
    insta::assert_snapshot!(refused(&project, &["show", "delta-fp4-h100-vllm/64_16/tp4/c3"], 4), @"
    error: there is no target `delta-fp4-h100-vllm/64_16/tp4/c3`
     |
     = help: did you mean `delta-fp4-h100-vllm/64_16/tp4/c1`, `delta-fp4-h100-vllm/64_16/tp4/c2`?
    ");
}
