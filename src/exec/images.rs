//! Images made present before a session takes its GPUs.

use std::sync::Arc;

use super::docker::connect::told;
use super::event::Event;
use super::image::VenvMaker;
use super::launch::ReadyImage;
use super::run::{Began, Run};
use super::signals::Interrupt;
use super::trouble::Trouble;
use crate::cache::{Digest, Inputs, Verdict};
use crate::config::reference::{ManifestDigest, Reference};
use crate::graph::spec::{Image, Server};

/// The image of a server that needs none made: the simulated engine in any image's place, or the built-in one.
pub(super) fn at_hand(server: &Server) -> Option<ReadyImage> {
    (server.simulated.is_some() || server.image == Image::Builtin).then_some(ReadyImage::Builtin)
}

/// The container image, if the engine has it.
async fn container(
    run: &Run,
    reference: &Reference,
    digest: Option<&ManifestDigest>,
) -> Result<ReadyImage, Trouble> {
    let host = run.docker().await.map_err(Trouble::machinery)?;
    let name = digest.map_or_else(|| reference.to_string(), |digest| reference.at(digest));
    match host.engine().client.inspect_image(&name).await {
        Ok(found) => Ok(ReadyImage::Container {
            image: found.id.unwrap_or(name),
            host,
        }),
        Err(bollard::errors::Error::DockerResponseServerError { status_code: 404, .. }) => Err(Trouble::Own(
            format!("the image `{name}` is not on this host: `docker pull {name}`"),
        )),
        Err(error) => Err(Trouble::machinery(told(&error))),
    }
}

/// Makes the image of `server` present.
pub(super) async fn ensure(
    run: Arc<Run>,
    maker: Arc<VenvMaker>,
    target: String,
    server: Arc<Server>,
) -> Result<ReadyImage, Trouble> {
    if let Some(image) = at_hand(&server) {
        return Ok(image);
    }
    let (file, digest) = match &server.image {
        Image::Builtin => return Ok(ReadyImage::Builtin),
        Image::Container { reference, digest } => {
            return container(&run, reference, digest.as_ref()).await;
        }
        Image::Pypi { file, digest } => (run.root.join(file), *digest),
    };
    let began = Began::now();
    run.say(Event::ImageStarted {
        target: target.clone(),
    });
    let say = run.speaker();
    let progress_target = target.clone();
    let ensured = async {
        let unchanged = || Digest::of_file(&file).is_ok_and(|now| now == digest);
        let venv = maker
            .ensure(&file, |line| {
                say(Event::ImageProgress {
                    target: progress_target.clone(),
                    line: line.to_owned(),
                });
            })
            .await
            .map_err(Trouble::own)?;
        if unchanged() {
            Ok(ReadyImage::Venv {
                root: venv.root,
                bin: venv.bin,
                python: venv.python,
            })
        } else {
            Err(Trouble::Own(format!(
                "`{}` changed while the build ran; start it again",
                file.display()
            )))
        }
    };
    let outcome = tokio::select! {
        outcome = ensured => outcome,
        () = run.interrupts.reached(Interrupt::Graceful) => Err(Trouble::Own("interrupted".to_owned())),
    };
    match &outcome {
        Ok(_) => {
            run.say(Event::ImageReady {
                target: target.clone(),
                elapsed_ms: began.elapsed_ms(),
            });
            record(&run, &target, server.image_inputs(), began);
        }
        Err(reason) => run.say(Event::ImageFailed {
            target,
            reason: reason.to_string(),
        }),
    }
    outcome
}

/// That an image was present once is kept for `why`; whether it is now, its maker looks for itself.
fn record(run: &Run, target: &str, inputs: Inputs, began: Began) {
    let known = run.store().lookup(&inputs.key()).is_ok_and(|hit| hit.is_some());
    if !known {
        let record = run.record(target.to_owned(), inputs, Verdict::Passed, began);
        if let Err(error) = run.publish(&record, &[]) {
            run.say(Event::Healed {
                what: format!("the record of `{target}` could not be kept: {error}"),
            });
        }
    }
}
