//! Containers with a network of their own, and their server's port published on loopback.

use crate::adoption::{adopted_from, in_second_bench, killed};
use crate::containers::Dockerd;
use crate::lab::{Lab, Plan};

/// It listens on all addresses, as the engine passes on what comes to the container's own.
const SERVER: &str = "command: sweep sim --host 0.0.0.0 --port {{ port }} --gpu h100 --tp 1 --model {{ model }} --time-scale 1";

fn lab() -> Option<Lab> {
    let dockerd = Dockerd::start_with_network()?;
    let plan = Plan {
        container: "{ network: published }",
        servers: &[("one", SERVER)],
        concurrencies: "[1, 2, 3]",
        ..Plan::default()
    };
    Some(Lab::on(dockerd, &plan))
}

#[test]
fn a_server_in_a_network_of_its_own_is_measured_through_its_published_port() {
    let Some(lab) = lab() else { return };
    let mut build = lab.start(&["build"]);
    build.wait_for("a bench", |story| !story.benches_started().is_empty());
    let [container] = lab.dockerd.containers().try_into().unwrap();
    let ran = build.wait();
    assert_eq!(ran.code, 0, "{ran}");
    assert_eq!(lab.project.simulated_rows("all").len(), 3);
    lab.assert_nothing_left();

    let host = container.host_config.unwrap();
    assert_eq!(host.network_mode.as_deref(), Some("bridge"));
    let bindings = host.port_bindings.unwrap();
    let [(port, bound)] = bindings.into_iter().collect::<Vec<_>>().try_into().unwrap();
    let bound = &bound.unwrap()[0];
    assert_eq!(bound.host_ip.as_deref(), Some("127.0.0.1"));
    assert_eq!(format!("{}/tcp", bound.host_port.as_ref().unwrap()), port);
}

#[test]
fn a_server_whose_port_is_published_is_gone_on_with() {
    let Some(lab) = lab() else { return };
    let left = killed(&lab, &lab.project, &["build"], in_second_bench);
    let next = lab.sweep(&["build"]);
    assert_eq!(next.code, 0, "{next}");
    assert_eq!(adopted_from(&next), [Some(left.run.as_str())], "{next}");
    assert!(next.story.server_failures().is_empty(), "{next}");
    assert_eq!(lab.passes().len(), 3);
    lab.assert_nothing_left();
}

#[test]
fn a_server_that_listens_on_loopback_alone_is_never_ready() {
    let Some(lab) = lab() else { return };
    let recipe = "benchmarks/one/recipe.yaml";
    lab.project.replace(recipe, "--host 0.0.0.0", "--host 127.0.0.1");
    lab.project.replace(recipe, "within: 1m", "within: 2s");
    let ran = lab.sweep(&["build", "one-fp8/**/c1"]);
    assert_eq!(ran.code, 1, "{ran}");
    let failures = ran.story.failures();
    let reason = failures["bench:one-fp8/64_16/tp1/c1"];
    assert!(reason.contains("was not ready within 2s"), "{reason}");
    lab.assert_nothing_left();
}
