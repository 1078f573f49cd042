//! The shape of a sweep: an image for ten servers, a server for nine points, a measurement and a row for each point, one
//! collection and one summary of all.

/// How many of everything there are.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) servers: usize,
}

/// Points on a server, one for each concurrency.
pub(crate) const CONCURRENCIES: [u32; 9] = [1, 2, 4, 8, 16, 32, 64, 128, 256];

const SERVERS_OF_AN_IMAGE: usize = 10;

impl Shape {
    /// The largest that has at most so many targets.
    pub(crate) fn of(targets: usize) -> Self {
        let of_ten = SERVERS_OF_AN_IMAGE * (1 + 2 * CONCURRENCIES.len()) + 1;
        Self {
            servers: ((targets - 2) * SERVERS_OF_AN_IMAGE / of_ten).max(1),
        }
    }

    pub(crate) fn image_of(server: usize) -> usize {
        server / SERVERS_OF_AN_IMAGE
    }

    pub(crate) fn images(self) -> usize {
        self.servers.div_ceil(SERVERS_OF_AN_IMAGE)
    }

    pub(crate) fn points(self) -> usize {
        self.servers * CONCURRENCIES.len()
    }

    pub(crate) fn targets(self) -> usize {
        self.images() + self.servers + 2 * self.points() + 2
    }

    /// Blobs: a trace, a row and a raw result a point, the collection and the summary.
    pub(crate) fn outputs(self) -> usize {
        3 * self.points() + 2
    }
}
