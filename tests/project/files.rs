//! The files of the usual project: four configs, two recipes, ten points on five servers, all simulated.

/// One simulated pool that runs several servers at a time. The client's own lateness is not judged in these projects:
/// the machine that runs the tests is busy with other tests.
pub(crate) const SWEEPFILE: &str = "\
version: 1
configs: [configs/master.yaml]
runners: configs/runners.yaml
secrets: [SWEEP_TEST_SECRET]
profiles:
  default:
    pools:
      sim: { executor: process, serves: [h100], nodes: 2, gpus: 8, gpu: h100, simulate: { time-scale: 100 } }
";

pub(crate) const RUNNERS: &str = "\
labels:
  h100: [h100-lab_00]
hardware:
  h100: { available-cpu-dram-mib: 1_998_848, gpus-per-node: 8 }
";

/// `alpha`, `beta` and `gamma` have one server each, `delta` has one a concurrency.
pub(crate) const CONFIGS: &str = "\
alpha-fp8-h100-sglang:
  image: lmsysorg/sglang:v0.5.1
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: alpha
  runner: h100
  precision: fp8
  framework: sglang
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }
beta-fp4-h100-sglang:
  image: lmsysorg/sglang:v0.5.1
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: beta
  runner: h100
  precision: fp4
  framework: sglang
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 2, conc-list: [1, 2, 4] }] }
gamma-fp8-h100-vllm:
  image: vllm/vllm-openai:v0.11.0
  model: openai/gpt-oss-120b
  model-prefix: gamma
  runner: h100
  precision: fp8
  framework: vllm
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 4, conc-list: [1, 2] }] }
delta-fp4-h100-vllm:
  image: vllm/vllm-openai:v0.11.0
  model: openai/gpt-oss-120b
  model-prefix: delta
  runner: h100
  precision: fp4
  framework: vllm
  multinode: false
  scenarios:
    fixed-seq-len:
      - { isl: 64, osl: 16, search-space: [{ tp: 4, conc-list: [1, 2] }] }
";

/// Names and texts. Only `beta` has `--kv-cache-dtype`; only `delta` has `--max-num-seqs`, sized for the point.
pub(crate) const RECIPES: [(&str, &str); 2] = [
    (
        "sglang",
        "\
match: { framework: sglang }
server:
  command: >-
    python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size {{ tp }}
    {% if precision == 'fp4' %}--kv-cache-dtype fp8_e4m3{% endif %}
  ready: { http: /health, within: 1m }
  reset: { http: POST /flush_cache }
bench: { prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
",
    ),
    (
        "vllm",
        "\
match: { framework: vllm }
server:
  run: serve.sh
  contract: [MODEL, TP]
  env: { MAX_NUM_SEQS: \"{{ conc if precision == 'fp4' else 256 }}\" }
  ready: { http: /health, within: 1m }
  reset: { http: POST /reset_prefix_cache }
bench: { prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
",
    ),
];

pub(crate) const VLLM_SCRIPT: &str = "\
#!/usr/bin/env bash
exec vllm serve \"$MODEL\" --port \"$PORT\" --tensor-parallel-size \"$TP\" --max-num-seqs \"$MAX_NUM_SEQS\"
";

/// A config of this framework, named after it, with points of one GPU and of short requests.
pub(crate) fn config_of(framework: &str, image: &str, concurrencies: &str) -> String {
    format!(
        "\
{framework}-fp8:
  image: {image}
  model: meta-llama/Llama-3.1-8B-Instruct
  model-prefix: {framework}
  runner: h100
  precision: fp8
  framework: {framework}
  multinode: false
  scenarios:
    fixed-seq-len:
      - {{ isl: 64, osl: 16, search-space: [{{ tp: 1, conc-list: {concurrencies} }}] }}
"
    )
}

/// A recipe whose engine is the simulator with the given words, started as any engine is.
pub(crate) fn faulty_recipe(framework: &str, words: &str, server: &str, bench: &str) -> String {
    format!(
        "\
match: {{ framework: {framework} }}
server:
  command: >-
    sweep sim --port {{{{ port }}}} --gpu h100 --tp 1 --model {{{{ model }}}} --time-scale 100 {words}
{}
bench:
  prompts: 4 * conc
  warmup: conc
{}
",
        indented(server),
        indented(bench),
    )
}

fn indented(lines: &str) -> String {
    let lines: Vec<String> = lines.lines().map(|line| format!("  {}", line.trim())).collect();
    lines.join("\n")
}
