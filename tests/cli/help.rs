//! `--help` and what clap itself refuses.

use super::{Project, refused, told, trimmed};

/// As a terminal of 100 columns shows it.
fn help(words: &[&str]) -> String {
    let project = Project::bare();
    let mut command = project.command(&[words, &["--help"]].concat());
    command.env("COLUMNS", "100");
    let ran = project.run(command);
    assert_eq!((ran.code, ran.stderr.as_str()), (0, ""), "{ran}");
    trimmed(&ran.stdout)
}

#[test]
fn the_program() {
    insta::assert_snapshot!(help(&[]), @"
    Build LLM inference benchmark sweeps like programs: only what is stale runs.

    Master configs compile into a content-hashed graph: image, server, bench, process, collect,
    summarize. Points whose resolved server command is equal share a server; finished points survive a
    crash, a cancel and a new CI job.

    Usage: sweep [OPTIONS] <COMMAND>

    Commands:
      build        Measure what is stale and print the summary
      plan         Show what a build would run, why, on which pools and how long. Nothing is touched
      why          Say why a target is stale, or what had changed when it was built last
      ls           List points, or targets of a kind
      show         Show one target: its inputs, its key, what it needs and what its last record says
      graph        Print the graph of targets
      results      Print results from the cache; nothing runs
      status       Show what the running build does, or how the last one ended
      log          Print what a target's last attempt wrote
      cache        Look after what has been measured: check it, count it, shrink it, carry it to another
                   machine
      clean        Forget the results of targets, so that the next build makes them again
      lock         Pin what image tags stand for in `sweep.lock`, and show old and new
      pull         Pull the container images of what is selected, by digest, so that no GPU waits for
                   one later
      doctor       Look at this host: cache, disk, limits, clock, container engine, GPUs, registries,
                   pins
      ci           Measure a sweep in several CI jobs
      check        Check all files of the project: errors, and what is valid but suspicious
      migrate      Print a master config or a runners file of an earlier form in today's form
      schema       Print the JSON Schema of a file format, for editors and other programs
      bench        Measure a running server with a random load
      sim          Serve a simulated engine over HTTP, OpenAI-compatible: continuous batching over a
                   roofline of the named GPU
      inferencex   InferenceX's own tools, drop-in: the same flags, files and output
      completions  Print a completion script for a shell
      help         Print this message or the help of the given subcommand(s)

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

      -h, --help
              Print help (see a summary with '-h')

      -V, --version
              Print version

    Examples:
      sweep build 'dsr1-fp8-*'                         measure what is stale, print the summary
      sweep plan  'dsr1-*'                             what would run, why, on what, how long
      sweep why dsr1-fp8-h200-sglang/8k1k/tp8/c64      the reason, input by input
      sweep results 'dsr1-fp8-*' --format csv          what was measured

    Exit codes:
      0         all asked for is fresh
      1         some targets failed, the rest was built
      2         what was written is wrong
      3         the machinery failed: an executor, the cache, the disk
      4         nothing matches
      130, 143  interrupted
    ");
}

#[test]
fn build() {
    insta::assert_snapshot!(help(&["build"]), @"
    Measure what is stale and print the summary

    Usage: sweep build [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --changed <BASE..HEAD>
              Only what the changelog entries added between two commits ask for, as `origin/main..HEAD`;
              of several ranges the union

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

          --trim-conc
              Of points that differ in concurrency only, the lowest

          --evals <MODE>
              Which points are checked for accuracy: planned, but not run by this version. Without it
              `default`; with `--changed` what the entries ask for

              Possible values:
              - default: Of fixed lengths the chosen few, beside the measurements
              - only:    Of all scenarios the chosen few, and no measurements
              - all:     All that can be, beside the measurements
              - none:    None

          --shard <ID>
              Measure a shard of `sweep ci plan`, in the place of what patterns select

          --plan-file <FILE>
              The file that `sweep ci plan` writes; `ci-plan.json` in the cache folder without this

      -n, --dry-run
              Only show the plan; the same as `sweep plan`

          --rerun
              Measure again what is selected, although there are results

          --max-age <AGE>
              Results older than this are stale, as `7d` or `12h`

          --locked
              Fail where an image has no pin in `sweep.lock`, instead of pinning it

          --no-wait
              Fail at once when another build holds the cache, instead of waiting for it

          --format <FORMAT>
              Possible values:
              - human: For people
              - json:  For programs

              [default: human]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep build 'dsr1-fp8-*'             the configs that match
      sweep build nightly                  a sweep of the Sweepfile
      sweep build '**/c64' '!*-trt'        points by id, without some
      sweep build 'dsr1-*' -n              only say what would run, and why
      sweep build --changed origin/main..HEAD   what new changelog entries ask for
      sweep build --max-age 7d nightly     measure again what is older than a week
      sweep build --shard h200-2of8-1c9f02ab   one job's part of a sweep that `sweep ci plan` dealt out
      sweep build nightly --format json    events as JSON lines

    The first Ctrl-C ends gracefully: finished points are kept, servers are stopped. The second kills.
    ");
}

#[test]
fn plan() {
    insta::assert_snapshot!(help(&["plan"]), @"
    Show what a build would run, why, on which pools and how long. Nothing is touched

    Usage: sweep plan [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --changed <BASE..HEAD>
              Only what the changelog entries added between two commits ask for, as `origin/main..HEAD`;
              of several ranges the union

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

          --trim-conc
              Of points that differ in concurrency only, the lowest

          --evals <MODE>
              Which points are checked for accuracy: planned, but not run by this version. Without it
              `default`; with `--changed` what the entries ask for

              Possible values:
              - default: Of fixed lengths the chosen few, beside the measurements
              - only:    Of all scenarios the chosen few, and no measurements
              - all:     All that can be, beside the measurements
              - none:    None

          --locked
              Fail where an image has no pin in `sweep.lock`

          --format <FORMAT>
              [default: text]
              [possible values: text, json]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep plan                         the whole project
      sweep plan 'dsr1-*'                what is stale, servers to start, what keeps them apart
      sweep plan --profile slurm         the same on another set of pools
      sweep plan --profile docker --locked   fail where an image has no pin
      sweep plan nightly --format json | jq '.configs[].stale'

    `sweep build -n` is the same.
    ");
}

#[test]
fn why() {
    insta::assert_snapshot!(help(&["why"]), @"
    Say why a target is stale, or what had changed when it was built last

    Usage: sweep why [OPTIONS] <TARGET>

    Arguments:
      <TARGET>  A target's id, a point's id for its bench, or `collect:SWEEP`

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
          --format <FORMAT>     [default: text] [possible values: text, json]
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep why dsr1-fp8-h200-sglang/8k1k/tp8/c64      image: lmsysorg/sglang:v0.5.8 → v0.5.9
      sweep why collect:nightly                        all causes behind a sweep, apart from cascades
      sweep why server:dsr1-fp8-h200-sglang/8k1k/tp8/c64 --format json

    It works before a build (what would run, and why) and after it (what had changed).
    ");
}

#[test]
fn ls() {
    insta::assert_snapshot!(help(&["ls"]), @"
    List points, or targets of a kind

    Usage: sweep ls [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --kind <KIND>
              Targets of this kind instead of points

              Possible values:
              - image:     An engine's image, made present
              - server:    A running server: demanded while a stale point needs it, never built for
                itself
              - bench:     A measurement: a workload against a server, kept as a raw trace
              - eval:      A check of accuracy against a server. Planned; this version runs none
              - process:   A trace turned into a result row
              - collect:   The rows of a sweep in one file
              - summarize: The rows of a sweep as tables

          --changed <BASE..HEAD>
              Only what the changelog entries added between two commits ask for, as `origin/main..HEAD`;
              of several ranges the union

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

          --trim-conc
              Of points that differ in concurrency only, the lowest

          --evals <MODE>
              Which points are checked for accuracy: planned, but not run by this version. Without it
              `default`; with `--changed` what the entries ask for

              Possible values:
              - default: Of fixed lengths the chosen few, beside the measurements
              - only:    Of all scenarios the chosen few, and no measurements
              - all:     All that can be, beside the measurements
              - none:    None

          --format <FORMAT>
              [default: text]
              [possible values: text, json]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep ls                              every point
      sweep ls 'dsr1-fp8-*'                 the points of some configs
      sweep ls '**/c64' '!*-trt'            by id, without some
      sweep ls 'dsr1-*' --kind server       the servers that they need
      sweep ls --changed origin/main..HEAD  what new changelog entries ask for
      sweep ls 'dsr1-*' --evals only        the points whose accuracy is checked
      sweep ls --format json | jq length
    ");
}

#[test]
fn show() {
    insta::assert_snapshot!(help(&["show"]), @"
    Show one target: its inputs, its key, what it needs and what its last record says

    Usage: sweep show [OPTIONS] <TARGET>

    Arguments:
      <TARGET>  A target's id, a point's id for its bench, or `collect:SWEEP`

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
          --format <FORMAT>     [default: text] [possible values: text, json]
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep show dsr1-fp8-h200-sglang/8k1k/tp8/c64           a point's bench
      sweep show server:dsr1-fp8-h200-sglang/8k1k/tp8/c64    the server that it runs on
      sweep show collect:nightly                             the rows that a sweep collects
      sweep show process:dsr1-fp8-h200-sglang/8k1k/tp8/c64 --format json
    ");
}

#[test]
fn graph() {
    insta::assert_snapshot!(help(&["graph"]), @"
    Print the graph of targets

    Usage: sweep graph [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --format <FORMAT>
              Possible values:
              - dot:     Graphviz
              - mermaid
              - json

              [default: dot]

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep graph smoke --format mermaid    for a fenced block in Markdown
      sweep graph 'dsr1-fp8-*' | dot -Tsvg -o graph.svg
      sweep graph --format json | jq '.targets | length'
    ");
}

#[test]
fn results() {
    insta::assert_snapshot!(help(&["results"]), @"
    Print results from the cache; nothing runs

    Usage: sweep results [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...  Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
          --format <FORMAT>     [default: table] [possible values: table, json, csv, md]
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep results                                     everything measured
      sweep results 'dsr1-fp8-*' --format json | jq length
      sweep results nightly --format csv > nightly.csv
      sweep results '**/c64' --format md

    Only rows whose every input is as it was when they were measured are printed; how many are left
    out is said on standard error. Tables, CSV and Markdown never mix measured and simulated rows.
    ");
}

#[test]
fn status() {
    insta::assert_snapshot!(help(&["status"]), @"
    Show what the running build does, or how the last one ended

    Usage: sweep status [OPTIONS]

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --format <FORMAT>
              How to tell it

              Possible values:
              - human: For people
              - json:  For programs

              [default: human]

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep status                                   for people
      watch sweep status                             again and again
      sweep status --format json | jq .finished      for programs; null before the first build
    ");
}

#[test]
fn log() {
    insta::assert_snapshot!(help(&["log"]), @"
    Print what a target's last attempt wrote

    Usage: sweep log [OPTIONS] <ID>

    Arguments:
      <ID>  A target, as `bench:KEY/8k1k/tp8/c64` or `server:…`; without a kind the bench, or its server
            before it started

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
      -f, --follow              Go on until the target's outcome is known or the run is over
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep log dsr1-fp8-h200-sglang/8k1k/tp8/c64            a point's bench, after its server's words
      sweep log server:dsr1-fp8-h200-sglang/8k1k/tp8/c4 -f   a server's words while it runs
    ");
}

#[test]
fn schema() {
    insta::assert_snapshot!(help(&["schema"]), @"
    Print the JSON Schema of a file format, for editors and other programs

    Usage: sweep schema [OPTIONS] <FORMAT>

    Arguments:
      <FORMAT>  [possible values: sweepfile, recipe, launcher, master, changelog]

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep schema sweepfile > sweepfile.schema.json
      sweep schema recipe > recipe.schema.json

    In an editor with a YAML language server, name the file in a recipe's first line:
      # yaml-language-server: $schema=../../recipe.schema.json
    ");
}

#[test]
fn bench() {
    insta::assert_snapshot!(help(&["bench"]), @r#"
    Measure a running server with a random load

    Usage: sweep bench [OPTIONS] --model <MODEL>

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one
          --url <URL>
              The server's address, http://HOST:PORT, in place of --host and --port
          --host <HOST>
              [default: 127.0.0.1]
          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this
          --port <PORT>
              [default: 8000]
          --model <MODEL>
              The model named in each request
          --api <API>
              [default: completions] [possible values: completions, chat]
          --prompt-form <PROMPT_FORM>
              What prompts are made of [default: token-ids; words for chat] [possible values: token-ids,
              words]
          --vocab <LO:HI>
              Draw token ids from LO up to and without HI [default: 1000:30000]
          --input-len <INPUT_LEN>
              Longest prompt, in tokens [default: 1024]
          --output-len <OUTPUT_LEN>
              Longest answer, in tokens [default: 128]
          --range-ratio <R>
              Lengths are uniform in [R * length, length] [default: 1]
          --num-prompts <NUM_PROMPTS>
              Measured requests [default: 100]
          --warmup <WARMUP>
              Requests sent before the measured ones [default: 0]
          --max-concurrency <MAX_CONCURRENCY>
              Requests in flight at most [default: all prompts]
          --request-rate <REQUEST_RATE>
              Requests arriving per second; inf sends as fast as --max-concurrency lets it [default:
              inf]
          --burstiness <BURSTINESS>
              Shape of the gaps between arrivals: 1 is Poisson, less is burstier [default: 1]
          --seed <SEED>
              Decides lengths, prompts and arrivals [default: 0]
          --temperature <TEMPERATURE>
              [default: 0]
          --ignore-eos
              Ask for answers of the full length, as without this
          --no-ignore-eos
              Let answers end where the model ends them
          --no-stream-usage
              Do not ask for a usage report; tokens are then counted by events and marked so
          --request-timeout <SECONDS>
              Give a request up after this many seconds [default: 21600]
          --extra-body <JSON>
              Further fields of every request body
          --trace-out <FILE>
              Keep the raw trace in this file
          --result-out <FILE>
              Write the result in this file as InferenceX's serving benchmark does; what a combined
              script leaves
          --format <FORMAT>
              [default: table] [possible values: table, json]
      -h, --help
              Print help

    Examples:
      # 64 streams, ten prompts each, 1024 tokens in and 128 out
      sweep bench --port 8000 --model m --input-len 1024 --output-len 128 --max-concurrency 64
      --num-prompts 640

      # a Poisson load of 20 requests a second, the raw trace kept
      sweep bench --url http://10.0.0.7:8000 --model m --request-rate 20 --num-prompts 1000 --trace-out
      t.zst

      # the file that `sweep inferencex process-result` reads
      sweep bench --port 8000 --model m --max-concurrency 8 --num-prompts 80 --result-out result.json

      # llama.cpp without its prompt cache, as JSON
      sweep bench --port 8080 --model m --extra-body '{"cache_prompt": false}' --format json
    "#);
}

#[test]
fn sim() {
    insta::assert_snapshot!(help(&["sim"]), @r#"
    Serve a simulated engine over HTTP, OpenAI-compatible: continuous batching over a roofline of the
    named GPU

    Usage: sweep sim [OPTIONS]

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --gpu <GPU>
              GPU: h100, h200, b200, b300, gb200, gb300, mi300x, mi325x, mi355x, rtx6000pro

              [default: h200]

          --gpus <GPUS>
              GPUs in all; without --tp they all go to tensor parallelism, with it they must be tp x pp

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

          --tp <TP>
              Tensor parallel size [default: gpus / pp, else 8]

          --pp <PP>
              Pipeline stages

              [default: 1]

          --ep <EP>
              Expert parallel size within the TP group

              [default: 1]

          --dp-attention
              Data-parallel attention over the TP group

          --model <MODEL>
              Model id; unknown ones need a size in the name (`-70B`, `-235B-A22B`) or --params-total

              [default: deepseek-ai/DeepSeek-R1-0528]

          --served-model-name <SERVED_MODEL_NAME>
              Name that clients use [default: the model id]

          --precision <PRECISION>
              Format of the weights

              Possible values:
              - fp4:  MXFP4, or NVFP4, which is 6 % larger: 4-bit floats with a shared scale per small
                block
              - fp8:  8-bit floats
              - bf16: 16-bit brain floats
              - int4: 4-bit integer weights, multiplied in bf16 (W4A16)

              [default: fp8]

          --spec-decoding <SPEC_DECODING>
              Speculative decoding

              Possible values:
              - none:        One token a step
              - mtp:         Multi-token prediction: the model's own extra layer drafts
              - draft_model: A small model of its own drafts

              [default: none]

          --params-total <COUNT>
              All weights of the model, in place of the catalogue's

          --params-active <COUNT>
              Weights that one token meets, in place of the catalogue's

          --kv-bytes-per-token <BYTES>
              Bytes of KV cache per token over all layers, in place of what follows from the model

          --host <HOST>
              Address to listen on

              [default: 127.0.0.1]

          --port <PORT>
              Port to listen on; 0 takes a free one

              [default: 8000]

          --seed <SEED>
              Seed of step times, speculation and natural ends

              [default: 0]

          --time-scale <TIME_SCALE>
              Virtual seconds in a second of wall time

              [default: 1]

          --stream-interval <TOKENS>
              Tokens per server-sent event; the first token always travels alone

              [default: 1]

          --max-num-seqs <MAX_NUM_SEQS>
              Sequences that run at once

              [default: 512]

          --max-num-batched-tokens <MAX_NUM_BATCHED_TOKENS>
              Tokens computed in a step, decoding first

              [default: 8192]

          --max-model-len <MAX_MODEL_LEN>
              Longest prompt and output together, tokens; what fits the KV cache at most

              [default: 131072]

          --load-time <SECONDS>
              Virtual seconds until /health answers 200

              [default: 0]

          --no-prefix-cache
              Compute every prompt in full

          --fault <FAULT>
              Act out a failure: never-ready, die-after=N (requests), no-tokens, refuse-reset

          --curve <CONCURRENCY>
              Serve nothing: print what a closed loop at these concurrencies would see on the virtual
              clock

          --isl <ISL>
              Prompt tokens of a request of the curve

              [default: 8192]

          --osl <OSL>
              Output tokens of a request of the curve

              [default: 1024]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep sim --gpu h200 --tp 8 --model deepseek-ai/DeepSeek-R1-0528 --precision fp8 --port 8000
      sweep sim --gpu h100 --tp 1 --model openai/gpt-oss-120b --precision fp4 --time-scale 25
      --stream-interval 10
      sweep sim --gpu b200 --gpus 8 --ep 8 --dp-attention --curve 1,16,256 --isl 8192 --osl 1024
      sweep sim --fault die-after=20

    Every answer says that it is simulated: header `x-sweep-simulated: 1`, `system_fingerprint:
    "sweep-sim-…"`. Times come
    from data sheets and rules of thumb, not from measurements.
    "#);
}

#[test]
fn completions() {
    insta::assert_snapshot!(help(&["completions"]), @r#"
    Print a completion script for a shell

    Usage: sweep completions [OPTIONS] <SHELL>

    Arguments:
      <SHELL>  [possible values: bash, elvish, fish, powershell, zsh]

    Options:
      -C, --directory <FOLDER>  Work in this folder instead of the current one
          --profile <NAME>      The profile of the Sweepfile to run on; its default one without this
      -h, --help                Print help

    Examples:
      sweep completions bash > ~/.local/share/bash-completion/completions/sweep
      sweep completions zsh > "${fpath[1]}/_sweep"
      sweep completions fish > ~/.config/fish/completions/sweep.fish
    "#);
}

#[test]
fn lock() {
    insta::assert_snapshot!(help(&["lock"]), @r#"
    Pin what image tags stand for in `sweep.lock`, and show old and new.

    Registries are asked with the logins of Docker's configuration; where one cannot be reached, the
    container engine is. A pin stays as it is until `--update`, also when its tag has moved; one that
    cannot be verified now is kept and told.

    Usage: sweep lock [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --update
              Pin tags that have moved to what they stand for now

          --model <ID=REVISION>
              Pin a model to a revision; without a revision its pin is taken away

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

          --format <FORMAT>
              [default: text]
              [possible values: text, json]

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep lock                          pin what has no pin; tell which tags have moved
      sweep lock --update                 and pin those anew
      sweep lock 'dsr1-*' --update        only the images of some configs
      sweep lock --model openai/gpt-oss-120b=8b193b0c8ee8
      sweep lock --format json | jq '.images[] | select(.state == "moved")'

    Exit codes: 0 everything has a pin; 2 an image is not in its registry; 3 one could not be asked for
    and has no pin.
    "#);
}

#[test]
fn pull() {
    insta::assert_snapshot!(help(&["pull"]), @"
    Pull the container images of what is selected, by digest, so that no GPU waits for one later.

    A build does this by itself, beside the sessions that run. What has no pin in `sweep.lock` is pinned
    first. Layers that are whole stay with the engine: a pull that was cut short goes on from there.

    Usage: sweep pull [OPTIONS] [PATTERNS]...

    Arguments:
      [PATTERNS]...
              Patterns or names of sweeps; everything without any

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --locked
              Fail where an image has no pin in `sweep.lock`, instead of pinning it

          --format <FORMAT>
              [default: text]
              [possible values: text, json]

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep pull --profile docker              all images of the profile's points
      sweep pull 'dsr1-*' --profile docker     those of some configs
      sweep pull nightly --profile docker --format json

    Exit codes: 0 all are here; 2 one is in no registry, or not for this platform; 3 the engine, a
    registry or the disk; 4 nothing was matched, or none of it runs in a container image.
    ");
}

#[test]
fn doctor() {
    insta::assert_snapshot!(help(&["doctor"]), @r#"
    Look at this host: cache, disk, limits, clock, container engine, GPUs, registries, pins.

    Each line says ok, warn or wrong, and what mends it. What the chosen profile does not need is not
    asked for.

    Usage: sweep doctor [OPTIONS]

    Options:
      -C, --directory <FOLDER>
              Work in this folder instead of the current one

          --pool <NAME>
              Look only for what this pool of the profile needs; may be given several times

          --format <FORMAT>
              [default: text]
              [possible values: text, json]

          --profile <NAME>
              The profile of the Sweepfile to run on; its default one without this

      -h, --help
              Print help (see a summary with '-h')

    Examples:
      sweep doctor                       for the default profile
      sweep doctor --profile docker      engine, GPUs, registries and pins too
      sweep doctor --profile docker --pool h200
      sweep doctor --format json | jq '.findings[] | select(.level != "ok")'

    Exit codes: 0 nothing is wrong, warnings or not; 2 the profile has no such pool; 3 something is
    wrong.
    "#);
}

#[test]
fn every_command_teaches_by_examples() {
    let listed = help(&[]);
    let commands = listed
        .split("Commands:\n")
        .nth(1)
        .unwrap()
        .split("\n\n")
        .next()
        .unwrap();
    let names = commands
        .lines()
        .filter_map(|line| line.strip_prefix("  ")?.split(' ').next());
    let names: Vec<&str> = names.filter(|name| !name.is_empty() && *name != "help").collect();
    assert!(
        names.contains(&"build") && names.contains(&"completions"),
        "{names:?}"
    );
    for name in names {
        let help = help(&[name]);
        assert!(
            help.contains("Examples:\n") && help.contains(&format!("\n  sweep {name}")),
            "{help}"
        );
    }
}

#[test]
fn what_is_misspelt_on_the_command_line() {
    let project = Project::new();
    insta::assert_snapshot!(refused(&project, &["biuld"], 2), @"
    error: unrecognized subcommand 'biuld'

      tip: a similar subcommand exists: 'build'

    Usage: sweep [OPTIONS] <COMMAND>

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(refused(&project, &["ls", "--kind", "benhc"], 2), @"
    error: invalid value 'benhc' for '--kind <KIND>'
      [possible values: image, server, bench, eval, process, collect, summarize]

      tip: a similar value exists: 'bench'

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(refused(&project, &["build", "--max-age", "5"], 2), @"
    error: invalid value '5' for '--max-age <AGE>': expected a time span such as `45m`, `1h30m` or `250ms`

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(refused(&project, &["why"], 2), @"
    error: the following required arguments were not provided:
      <TARGET>

    Usage: sweep why <TARGET>

    For more information, try '--help'.
    ");
}

#[test]
fn the_version() {
    let shown = told(&Project::bare(), &["--version"]);
    assert_eq!(shown, format!("sweep {}\n", env!("CARGO_PKG_VERSION")));
}
