//! `loadline image`

use std::path::PathBuf;

use clap::Subcommand;
use http::Method;
use indicatif::{ProgressBar, ProgressStyle};
use serde_json::{Value, json};

use crate::agent::{Agent, absolute, query_text};
use crate::failure::Failure;
use crate::options::Context;
use crate::output::dash;

/// Import, list and remove images of this machine's agent
#[derive(Debug, Subcommand)]
pub(crate) enum Image {
    /// Import an image: an OCI layout (folder or tar), or what `docker save` writes
    ///
    /// The image is for this machine; each node that shall run it needs its own copy, or a registry
    /// to pull it from.
    #[command(after_help = IMPORT_EXAMPLES)]
    Import {
        /// The file or folder
        path: PathBuf,
        /// The reference that tasks use, for example busybox:latest [default: the archive's own]
        #[arg(long, value_name = "REFERENCE")]
        name: Option<String>,
    },
    /// List the images
    Ls,
    /// Remove an image
    Rm {
        /// The image's reference
        reference: String,
    },
}

const IMPORT_EXAMPLES: &str = "\
Examples:
  docker save busybox:latest -o busybox.tar && sudo loadline image import busybox.tar
  skopeo copy docker://busybox oci:busybox && sudo loadline image import busybox --name busybox";

impl Image {
    pub(crate) async fn run(self, context: &Context) -> Result<u8, Failure> {
        let agent = Agent::new(context.agent_socket());
        match self {
            Self::Import { path, name } => import(context, &agent, path, name).await?,
            Self::Rm { reference } => {
                let path = format!("/v1/images?reference={}", query_text(&reference));
                let gone = agent.call(Method::DELETE, &path).await?;
                context.output.either(&gone, &reference)?;
            }
            Self::Ls => {
                let all = agent.call(Method::GET, "/v1/images").await?;
                let images = all["images"].as_array().map_or(&[][..], Vec::as_slice);
                let rows = images.iter().map(row).collect();
                context.output.table(&all, &["IMAGE", "DIGEST", "SIZE"], rows)?;
            }
        }
        Ok(0)
    }
}

async fn import(
    context: &Context,
    agent: &Agent,
    path: PathBuf,
    name: Option<String>,
) -> Result<(), Failure> {
    let path = absolute(&path)?;
    let text = path.to_str().ok_or_else(|| {
        Failure::Usage(format!("{}: a path that is not UTF-8 can't be sent", path.display()))
    })?;
    let mut body = json!({ "path": text });
    if let Some(name) = name {
        body["name"] = json!(name);
    }
    // Hidden where standard error is not a terminal.
    let bar = ProgressBar::new(0).with_style(style());
    let told = |done: u64, total: u64| {
        bar.set_length(total);
        bar.set_position(done);
    };
    let imported = agent.import(&body, told).await;
    bar.finish_and_clear();
    let imported = imported?;
    let images = imported.as_array().map_or(&[][..], Vec::as_slice);
    let names: Vec<String> = images.iter().map(|i| dash(i["reference"].as_str())).collect();
    context.output.either(&json!({ "imported": imported }), &names.join("\n"))
}

fn style() -> ProgressStyle {
    let template = "{bar:30} {bytes}/{total_bytes} {bytes_per_sec} {eta}";
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

fn row(image: &Value) -> Vec<String> {
    let size = image["size_bytes"].as_u64().map(|bytes| indicatif::HumanBytes(bytes).to_string());
    let digest = image["digest"].as_str().map(|digest| {
        let hex = digest.rsplit(':').next().unwrap_or(digest);
        hex.chars().take(12).collect::<String>()
    });
    vec![dash(image["reference"].as_str()), dash(digest), dash(size)]
}
