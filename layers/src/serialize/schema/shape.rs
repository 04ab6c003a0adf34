//! What was noted of a type, and its canonical rendering.

/// A place in [`Shapes`] where the shape of one part of a type is noted.
pub(super) type Slot = usize;

/// The shape of a part.
#[derive(Debug)]
pub(super) enum Node {
    /// Not visited, or it could not be.
    Unseen,
    /// A primitive, by name.
    Leaf(&'static str),
    Option(Slot),
    Seq(Slot),
    Map(Slot, Slot),
    Tuple(Vec<Slot>),
    /// A struct or enum, by its number.
    Container(usize),
}

/// What a struct, or a variant of an enum, consists of.
#[derive(Debug)]
pub(super) enum Body {
    Unseen,
    Unit,
    Newtype(Slot),
    Tuple(Vec<Slot>),
    Struct(Vec<(&'static str, Slot)>),
}

#[derive(Debug)]
pub(super) struct Variant {
    pub(super) name: &'static str,
    pub(super) body: Body,
    /// Nothing more is to be learned of it.
    pub(super) done: bool,
}

#[derive(Debug)]
pub(super) enum Kind {
    Struct(Body),
    Enum(Vec<Variant>),
}

/// A struct or an enum.
#[derive(Debug)]
pub(super) struct Container {
    pub(super) name: &'static str,
    pub(super) kind: Kind,
    /// It is being visited further up the stack.
    pub(super) open: bool,
    /// Nothing more is to be learned of it.
    pub(super) done: bool,
}

/// Everything that was noted. The root is slot 0.
#[derive(Debug)]
pub(super) struct Shapes {
    pub(super) nodes: Vec<Node>,
    pub(super) containers: Vec<Container>,
}

impl Shapes {
    pub(super) fn new() -> Self {
        Self { nodes: vec![Node::Unseen], containers: Vec::new() }
    }

    pub(super) fn slot(&mut self) -> Slot {
        self.nodes.push(Node::Unseen);
        self.nodes.len() - 1
    }

    pub(super) fn slots(&mut self, count: usize) -> Vec<Slot> {
        (0..count).map(|_| self.slot()).collect()
    }

    /// The shape as bytes: containers are written where they are first met and referred to by number afterwards, names with
    /// their length. Part of the stored form: golden files hold later versions to it.
    pub(super) fn render(&self) -> Vec<u8> {
        let mut out =
            Renderer { shapes: self, numbers: vec![None; self.containers.len()], met: 0, bytes: Vec::new() };
        out.node(0);
        out.bytes
    }
}

struct Renderer<'a> {
    shapes: &'a Shapes,
    numbers: Vec<Option<usize>>,
    met: usize,
    bytes: Vec<u8>,
}

impl Renderer<'_> {
    fn text(&mut self, text: &str) {
        self.bytes.extend_from_slice(format!("{}:{text}", text.len()).as_bytes());
    }

    fn tag(&mut self, tag: &str) {
        self.bytes.extend_from_slice(tag.as_bytes());
    }

    fn nodes(&mut self, slots: &[Slot]) {
        self.tag(&format!("{}(", slots.len()));
        for &slot in slots {
            self.node(slot);
        }
        self.tag(")");
    }

    fn node(&mut self, slot: Slot) {
        let shapes = self.shapes;
        match &shapes.nodes[slot] {
            Node::Unseen => self.tag("?"),
            Node::Leaf(name) => self.text(name),
            Node::Option(some) => {
                self.tag("o");
                self.node(*some);
            }
            Node::Seq(element) => {
                self.tag("s");
                self.node(*element);
            }
            Node::Map(key, value) => {
                self.tag("m");
                self.node(*key);
                self.node(*value);
            }
            Node::Tuple(elements) => {
                self.tag("t");
                self.nodes(elements);
            }
            Node::Container(index) => self.container(*index),
        }
    }

    fn container(&mut self, index: usize) {
        if let Some(number) = self.numbers[index] {
            return self.tag(&format!("#{number};"));
        }
        self.numbers[index] = Some(self.met);
        self.met += 1;
        let shapes = self.shapes;
        let container = &shapes.containers[index];
        self.tag("c");
        self.text(container.name);
        match &container.kind {
            Kind::Struct(body) => self.body(body),
            Kind::Enum(variants) => {
                self.tag(&format!("e{}(", variants.len()));
                for variant in variants {
                    self.text(variant.name);
                    self.body(&variant.body);
                }
                self.tag(")");
            }
        }
    }

    fn body(&mut self, body: &Body) {
        match body {
            Body::Unseen => self.tag("?"),
            Body::Unit => self.tag("u"),
            Body::Newtype(inner) => {
                self.tag("n");
                self.node(*inner);
            }
            Body::Tuple(elements) => {
                self.tag("t");
                self.nodes(elements);
            }
            Body::Struct(fields) => {
                self.tag(&format!("r{}(", fields.len()));
                for (name, slot) in fields {
                    self.text(name);
                    self.node(*slot);
                }
                self.tag(")");
            }
        }
    }
}
