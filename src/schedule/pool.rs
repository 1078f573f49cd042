//! One pool: its capacity, and which GPUs of its nodes are held.

/// Whether two sessions may hold GPUs of one node at a time.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Share {
    /// A session takes whole nodes, however few of their GPUs it uses.
    Exclusive,
    /// A session takes its GPUs; others run beside it.
    Gpu,
}

/// A pool's capacity.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PoolSpec {
    pub name: String,
    pub nodes: u32,
    /// GPUs on each node.
    pub gpus: u32,
    pub share: Share,
}

/// What a session needs, all of it at once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Demand {
    pub nodes: u32,
    /// GPUs on each of the nodes.
    pub gpus: u32,
    /// Names of pools, any of which will do; the first that has room is taken.
    pub pools: Vec<String>,
}

/// Where a session runs.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Placement {
    pub pool: String,
    /// Indices within the pool, ascending.
    pub nodes: Vec<u32>,
    /// The indices of the GPUs to use, ascending, the same on each node.
    pub gpus: Vec<u32>,
}

/// A pool's books. What was placed and what may be given back is for the fleet to know.
#[derive(Debug, Clone)]
pub(super) struct Pool {
    pub(super) spec: PoolSpec,
    nodes: Vec<Node>,
}

/// For each GPU, whether it is held. All are while a session has the whole node.
#[derive(Debug, Clone)]
struct Node(Vec<bool>);

impl Pool {
    pub(super) fn new(spec: PoolSpec) -> Self {
        let nodes = (0..spec.nodes)
            .map(|_| Node(vec![false; spec.gpus as usize]))
            .collect();
        Self { spec, nodes }
    }

    /// Whether an idle pool has room for it.
    pub(super) fn could_hold(&self, demand: &Demand) -> bool {
        (1..=self.spec.nodes).contains(&demand.nodes) && (1..=self.spec.gpus).contains(&demand.gpus)
    }

    fn takes_whole_nodes(&self, nodes: usize) -> bool {
        self.spec.share == Share::Exclusive || nodes > 1
    }

    /// Where it would go now; nothing is held yet.
    pub(super) fn room_for(&self, demand: &Demand) -> Option<Placement> {
        if !self.could_hold(demand) {
            return None;
        }
        let (wanted, gpus) = (demand.nodes as usize, demand.gpus as usize);
        let numbered = (0..).zip(&self.nodes);
        let (nodes, gpus) = if self.takes_whole_nodes(wanted) {
            let idle = numbered
                .filter(|(_, node)| node.is_idle())
                .map(|(index, _)| index);
            let nodes: Vec<u32> = idle.take(wanted).collect();
            (
                (nodes.len() == wanted).then_some(nodes)?,
                (0..demand.gpus).collect(),
            )
        } else {
            // Of equally full nodes `min_by_key` gives the first.
            let (index, node) = numbered
                .filter(|(_, node)| node.free().count() >= gpus)
                .min_by_key(|(_, node)| node.free().count())?;
            (vec![index], node.free().take(gpus).collect())
        };
        Some(Placement {
            pool: self.spec.name.clone(),
            nodes,
            gpus,
        })
    }

    /// Whether all that the placement stands for is there and nobody holds it.
    pub(super) fn is_free(&self, placement: &Placement) -> bool {
        let whole = self.takes_whole_nodes(placement.nodes.len());
        let is_free = |node: &Node| {
            let mut gpus = placement.gpus.iter();
            gpus.all(|gpu| node.0.get(*gpu as usize) == Some(&false)) && (!whole || node.is_idle())
        };
        let mut nodes = placement.nodes.iter();
        nodes.all(|index| self.nodes.get(*index as usize).is_some_and(is_free))
    }

    /// Holds, or frees, what this pool's placement stands for.
    pub(super) fn mark(&mut self, placement: &Placement, held: bool) {
        let whole = self.takes_whole_nodes(placement.nodes.len());
        for node in &placement.nodes {
            let Node(gpus) = &mut self.nodes[*node as usize];
            if whole {
                gpus.fill(held);
            } else {
                placement.gpus.iter().for_each(|gpu| gpus[*gpu as usize] = held);
            }
        }
    }
}

impl Node {
    fn is_idle(&self) -> bool {
        !self.0.contains(&true)
    }

    /// Indices of the GPUs that nobody holds.
    fn free(&self) -> impl Iterator<Item = u32> {
        (0..)
            .zip(&self.0)
            .filter(|(_, held)| !**held)
            .map(|(index, _)| index)
    }
}
