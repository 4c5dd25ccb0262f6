//! What every room's error says about itself, so that the binding can choose the Python class.

/// The class of a failure; stable, one for each Python exception that a kernel can raise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// An argument has a value or a shape that is not allowed.
    InvalidInput,
    /// Nothing in common between an image and a grid.
    NoOverlap,
    /// No usable pixel is left.
    NoData,
    /// Bytes that are not what their format promises.
    Format,
    /// A file or an object could not be read or written.
    Storage,
}

/// An error of a room: a message with the numbers in it, and its class.
pub trait RoomError: std::error::Error {
    /// The class of this error.
    fn kind(&self) -> Kind;
}
