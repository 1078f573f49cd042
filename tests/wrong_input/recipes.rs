//! Recipes: which one, and what its templates say.

use super::*;

#[test]
fn two_recipes_that_match_equally_well_are_both_named() {
    let project = Project::new();
    project.write("benchmarks/other/recipe.yaml", &project.read(RECIPE));
    insta::assert_snapshot!(refused(&project, &["build", "alpha-*"]), @"
    error: recipes `other` and `sglang` match equally well
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
     ::: benchmarks/other/recipe.yaml:1:8
      |
    1 | match: { framework: sglang }
      |        - matches
      |
     ::: benchmarks/sglang/recipe.yaml:1:8
      |
    1 | match: { framework: sglang }
      |        - matches
      |
      = help: add a condition to one of them: the recipe with the most that hold wins
    ");
    // Who does not select its points is not concerned.
    assert_eq!(project.sweep(&["plan", "gamma-*"]).code, 0);
}

#[test]
fn no_recipe_matches() {
    insta::assert_snapshot!(after_alpha("framework: sglang", "framework: sglng"), @"
    error: no recipe matches framework `sglng` (model `alpha`, precision `fp8`, runner `h100`)
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `sglang`?
      = help: recipes are folders of `benchmarks` with a `recipe.yaml`
    ");
    insta::assert_snapshot!(after(RECIPE, "framework: sglang", "framework: sglang, precision: fp4"), @"
    error: no recipe matches framework `sglang` (model `alpha`, precision `fp8`, runner `h100`)
     --> configs/master.yaml:1:1
      |
    1 | alpha-fp8-h100-sglang:
      | ^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: the recipes of this framework have other conditions that do not hold; loosen one, or add a recipe
    ");
}

#[test]
fn a_name_that_a_template_does_not_know() {
    insta::assert_snapshot!(after(RECIPE, "{{ tp }}", "{{ tpp }}"), @"
    error: recipe `sglang` does not expand: there is no `tpp`
     --> benchmarks/sglang/recipe.yaml:4:106
      |
    4 |     python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size {{ tpp }}
      |                                                                                                          ^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `tp`?
      = help: docs/recipes.md lists the names that templates may use
    ");
    insta::assert_snapshot!(after(RECIPE, "prompts: 4 * conc", "prompts: 4 * con"), @"
    error: recipe `sglang` does not expand: there is no `con`
     --> benchmarks/sglang/recipe.yaml:8:23
      |
    8 | bench: { prompts: 4 * con, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                       ^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `conc`?
      = help: docs/recipes.md lists the names that templates may use
    ");
    insta::assert_snapshot!(after("benchmarks/vllm/recipe.yaml", "[MODEL, TP]", "[MODEL, TPP]"), @"
    error: recipe `vllm` does not expand: there is no contract variable `TPP`
     --> benchmarks/vllm/recipe.yaml:4:21
      |
    4 |   contract: [MODEL, TPP]
      |                     ^^^ needed by `gamma-fp8-h100-vllm/64_16/tp4/c1`
      |
      = help: did you mean `TP`?
      = help: docs/recipes.md lists the names that templates may use
    ");
}

#[test]
fn a_template_or_an_expression_that_is_none() {
    insta::assert_snapshot!(after(RECIPE, "{{ tp }}", "{{ tp }"), @"
    error: `command` is not a valid template
     --> benchmarks/sglang/recipe.yaml:4:5
      |
    4 |     python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size {{ tp }
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ syntax error: unexpected `}`, expected end of variable block
    ");
    insta::assert_snapshot!(after(RECIPE, "{{ tp }}", "{{ tp | maxx }}"), @"
    error: recipe `sglang` does not expand: unknown filter: filter maxx is unknown
     --> benchmarks/sglang/recipe.yaml:4:5
      |
    4 |     python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size {{ tp | maxx }}
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: docs/recipes.md tells what templates may say
    ");
    insta::assert_snapshot!(after(RECIPE, "{{ tp }}", "'{{ tp }}"), @"
    error: recipe `sglang` does not expand: missing closing quote in the command
     --> benchmarks/sglang/recipe.yaml:4:5
      |
    4 |     python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size '{{ tp }}
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: docs/recipes.md tells what templates may say
    ");
    insta::assert_snapshot!(after(RECIPE, "prompts: 4 * conc", "prompts: 4 *"), @"
    error: `prompts` is not a valid expression
     --> benchmarks/sglang/recipe.yaml:8:19
      |
    8 | bench: { prompts: 4 *, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                   ^^^ syntax error: unexpected end of input, expected expression
    ");
    insta::assert_snapshot!(after(RECIPE, "prompts: 4 * conc", "prompts: 4"), @r#"
    error: `prompts` cannot be the integer 4
     --> benchmarks/sglang/recipe.yaml:8:19
      |
    8 | bench: { prompts: 4, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                   ^ expected a string
      |
      = help: in quotes it is a string: "4"
    "#);
    insta::assert_snapshot!(after(RECIPE, "prompts: 4 * conc", "prompts: conc - conc"), @"
    error: `prompts` is 0; it must be at least 1
     --> benchmarks/sglang/recipe.yaml:8:19
      |
    8 | bench: { prompts: conc - conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                   ^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
    ");
    insta::assert_snapshot!(after(RECIPE, "prompts: 4 * conc", "prompts: model"), @"
    error: recipe `sglang` does not expand: `model` gives `meta-llama/Llama-3.1-8B-Instruct`, which is no number of requests
     --> benchmarks/sglang/recipe.yaml:8:19
      |
    8 | bench: { prompts: model, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                   ^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: docs/recipes.md tells what templates may say
    ");
}

#[test]
fn a_template_that_would_not_end_is_stopped() {
    let loops = "{% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}";
    insta::assert_snapshot!(after(RECIPE, "{{ tp }}", loops), @"
    error: recipe `sglang` does not expand: it takes too many steps; does a loop end?
     --> benchmarks/sglang/recipe.yaml:4:5
      |
    4 |     python3 -m sglang.launch_server --model-path {{ model }} --port {{ port }} --tensor-parallel-size {% for a in range(9999) %}{% for b in range(9999) %}{% endfor %}{% endfor %}
      |     ^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: docs/recipes.md tells what templates may say
    ");
}

#[test]
fn a_combined_script_says_what_it_needs_and_nothing_that_decides_nothing() {
    let recipe = |text: &str| {
        let project = Project::new();
        project.write(RECIPE, &format!("match: {{ framework: sglang }}\n{text}\n"));
        project.write("benchmarks/sglang/run.sh", "true\n");
        refused(&project, &["build"])
    };
    insta::assert_snapshot!(recipe("bench: {}"), @"
    error: a recipe does not say what it starts
     --> benchmarks/sglang/recipe.yaml:1:1
      |
    1 | match: { framework: sglang }
      | ^ expected `server`, or `run` with a script that starts and measures one itself
    ");
    insta::assert_snapshot!(recipe("run: run.sh"), @"
    error: a combined script has no time limit
     --> benchmarks/sglang/recipe.yaml:2:6
      |
    2 | run: run.sh
      |      ^^^^^^ expected `within` beside it, as `within: 2h`
    ");
    insta::assert_snapshot!(recipe("run: rnu.sh\nwithin: soon"), @"
    error: `within` is not a valid duration
     --> benchmarks/sglang/recipe.yaml:3:9
      |
    3 | within: soon
      |         ^^^^ expected a time span such as `45m`, `1h30m` or `250ms`
    ");
    insta::assert_snapshot!(recipe("run: rnu.sh\nwithin: 1h\nfiles: [bench.json]"), @"
    error: `benchmarks/sglang/rnu.sh` does not exist
     --> benchmarks/sglang/recipe.yaml:2:6
      |
    2 | run: rnu.sh
      |      ^^^^^^ named here

    error: `benchmarks/sglang/bench.json` does not exist
     --> benchmarks/sglang/recipe.yaml:4:8
      |
    4 | files: [bench.json]
      |        ^ named here

    error: `bench.json` is where the script writes its result
     --> benchmarks/sglang/recipe.yaml:4:8
      |
    4 | files: [bench.json]
      |        ^ expected another name
    ");
    insta::assert_snapshot!(
        recipe("run: run.sh\nwithin: 1h\nbench: { prompts: conc, range-ratio: 1, limits: { client-lag: 1s } }"),
        @"
    error: `prompts` decides nothing: the script sends a load of its own
     --> benchmarks/sglang/recipe.yaml:4:19
      |
    4 | bench: { prompts: conc, range-ratio: 1, limits: { client-lag: 1s } }
      |                   ^^^^ remove it

    error: `client-lag` decides nothing: the script sends a load of its own
     --> benchmarks/sglang/recipe.yaml:4:63
      |
    4 | bench: { prompts: conc, range-ratio: 1, limits: { client-lag: 1s } }
      |                                                               ^^ remove it
    "
    );
    insta::assert_snapshot!(recipe("run: run.sh\nwithin: 1h\ncontract: [CONCC]"), @"
    error: recipe `sglang` does not expand: there is no contract variable `CONCC`
     --> benchmarks/sglang/recipe.yaml:4:12
      |
    4 | contract: [CONCC]
      |            ^^^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `CONC`?
      = help: docs/recipes.md lists the names that templates may use
    ");
    insta::assert_snapshot!(recipe("run: run.sh\nwithin: 1h\nenv: { A: \"{{ tpp }}\" }"), @r#"
    error: recipe `sglang` does not expand: there is no `tpp`
     --> benchmarks/sglang/recipe.yaml:4:15
      |
    4 | env: { A: "{{ tpp }}" }
      |               ^^^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
      |
      = help: did you mean `tp`?
      = help: docs/recipes.md lists the names that templates may use
    "#);
    insta::assert_snapshot!(after(RECIPE, "bench: {", "run: run.sh\nwithin: 1h\nbench: {"), @"
    error: a recipe serves, or it is a combined script
     --> benchmarks/sglang/recipe.yaml:8:6
      |
    8 | run: run.sh
      |      ^^^^^^ expected this or `server`, not both
    ");
    insta::assert_snapshot!(after(RECIPE, "bench: {", "env: { A: b }\nbench: {"), @"
    error: `env` here is for a combined script
     --> benchmarks/sglang/recipe.yaml:8:6
      |
    8 | env: { A: b }
      |      ^ expected it in `server`
    ");
}

#[test]
fn a_server_is_started_and_reset_in_one_way() {
    insta::assert_snapshot!(after(RECIPE, "  ready:", "  run: serve.sh\n  ready:"), @"
    error: a server is started by a command or by a script
     --> benchmarks/sglang/recipe.yaml:3:3
      |
    3 |   command: >-
      |   ^ expected exactly one of `command` and `run`
    ");
    insta::assert_snapshot!(after(RECIPE, "http: POST /flush_cache", "http: POST /x, unneeded: y"), @"
    error: a reset is done in one way
     --> benchmarks/sglang/recipe.yaml:7:10
      |
    7 |   reset: { http: POST /x, unneeded: y }
      |          ^ expected exactly one of `http`, `body` and `unneeded`
    ");
    insta::assert_snapshot!(after(RECIPE, "http: /health", "http: health"), @"
    error: `http` is no path
     --> benchmarks/sglang/recipe.yaml:6:18
      |
    6 |   ready: { http: health, within: 1m }
      |                  ^^^^^^ expected a path as `/health`
    ");
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { api: chat,"), @"
    error: `api: chat` takes no token ids; set `prompt-form: words`
     --> benchmarks/sglang/recipe.yaml:8:8
      |
    8 | bench: { api: chat, prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |        ^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
    ");
    insta::assert_snapshot!(after(RECIPE, "bench: {", "bench: { body: { stream: false },"), @"
    error: `body` sets `stream`, which the workload itself decides; remove it
     --> benchmarks/sglang/recipe.yaml:8:16
      |
    8 | bench: { body: { stream: false }, prompts: 4 * conc, warmup: conc, limits: { client-lag: 1m, client-cpu: 1 } }
      |                ^ needed by `alpha-fp8-h100-sglang/64_16/tp2/c1`
    ");
}
