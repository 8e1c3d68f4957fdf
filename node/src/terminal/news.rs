//! What happens at a node, as lines for a terminal.

use crate::control::client::{Event, Watch};
use crate::terminal::text::escape;
use crate::transfer::job::JobInfo;

/// Something for a terminal to show.
#[derive(Debug, Clone, PartialEq)]
pub enum News {
    /// A line from the node.
    Notice(String),
    /// A download is over.
    Over(Box<JobInfo>),
    /// How far the downloads are.
    Progress(Vec<JobInfo>),
}

/// Hears the news of a node until it is gone, and shows each.
pub async fn follow<F>(mut watch: Watch, mut show: impl FnMut(News) -> F)
where
    F: Future<Output = ()>,
{
    while let Ok(event) = watch.next().await {
        match event {
            Event::Notice(line) => show(News::Notice(escape(&line))).await,
            Event::Progress(jobs) => {
                for job in jobs.iter().filter(|job| job.state.is_over()) {
                    show(News::Over(Box::new(job.clone()))).await;
                }
                show(News::Progress(jobs)).await;
            }
        }
    }
}
