//! The control tokens that code may ask for, and the names they bear in Llama 4 and Llama 3 vocabularies.

/// A control token by meaning. Only code names one; no text becomes one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Control {
    /// Opens every sequence, exactly once.
    BeginOfText,
    /// Ends a base model's text.
    EndOfText,
    /// Stands before a role.
    HeaderStart,
    /// Stands after a role.
    HeaderEnd,
    /// Ends a message that expects a tool's answer, and that answer.
    Eom,
    /// Ends a turn.
    Eot,
    /// A step inside a turn (reserved by Meta).
    Step,
    /// Opens code or a JSON call for a tool (Llama 3: `<|python_tag|>`).
    PythonStart,
    /// Closes what `PythonStart` opened (Llama 4 only).
    PythonEnd,
    /// Padding on the right.
    Pad,
    /// Fill-in-the-middle: what stands before the gap.
    FimPrefix,
    /// Fill-in-the-middle: the gap.
    FimMiddle,
    /// Fill-in-the-middle: what stands after the gap.
    FimSuffix,
    /// Opens an image.
    ImageStart,
    /// Closes an image.
    ImageEnd,
    /// Separates the tiles from the downscaled whole; in Llama 3.2 the image itself.
    Image,
    /// One patch of an image; its embedding comes from the vision tower.
    Patch,
    /// Between two tiles of a row.
    TileXSeparator,
    /// After each row of tiles.
    TileYSeparator,
    /// Opens hidden reasoning.
    ThinkingStart,
    /// Closes hidden reasoning.
    ThinkingEnd,
}

impl Control {
    /// All of them, in the order of declaration.
    pub const ALL: [Control; 21] = [
        Control::BeginOfText,
        Control::EndOfText,
        Control::HeaderStart,
        Control::HeaderEnd,
        Control::Eom,
        Control::Eot,
        Control::Step,
        Control::PythonStart,
        Control::PythonEnd,
        Control::Pad,
        Control::FimPrefix,
        Control::FimMiddle,
        Control::FimSuffix,
        Control::ImageStart,
        Control::ImageEnd,
        Control::Image,
        Control::Patch,
        Control::TileXSeparator,
        Control::TileYSeparator,
        Control::ThinkingStart,
        Control::ThinkingEnd,
    ];

    /// The names under which vocabularies hold it: Llama 4's first, then Llama 3's. Meta's first Llama 4 vocabulary
    /// called the two tokens around code reserved ones.
    #[must_use]
    pub fn names(self) -> &'static [&'static str] {
        match self {
            Control::BeginOfText => &["<|begin_of_text|>"],
            Control::EndOfText => &["<|end_of_text|>"],
            Control::HeaderStart => &["<|header_start|>", "<|start_header_id|>"],
            Control::HeaderEnd => &["<|header_end|>", "<|end_header_id|>"],
            Control::Eom => &["<|eom|>", "<|eom_id|>"],
            Control::Eot => &["<|eot|>", "<|eot_id|>"],
            Control::Step => &["<|step|>", "<|step_id|>"],
            Control::PythonStart => {
                &["<|python_start|>", "<|python_tag|>", "<|text_post_train_reserved_special_token_6|>"]
            }
            Control::PythonEnd => &["<|python_end|>", "<|text_post_train_reserved_special_token_7|>"],
            Control::Pad => &["<|finetune_right_pad|>", "<|finetune_right_pad_id|>"],
            Control::FimPrefix => &["<|fim_prefix|>"],
            Control::FimMiddle => &["<|fim_middle|>"],
            Control::FimSuffix => &["<|fim_suffix|>"],
            Control::ImageStart => &["<|image_start|>"],
            Control::ImageEnd => &["<|image_end|>"],
            Control::Image => &["<|image|>"],
            Control::Patch => &["<|patch|>"],
            Control::TileXSeparator => &["<|tile_x_separator|>"],
            Control::TileYSeparator => &["<|tile_y_separator|>"],
            Control::ThinkingStart => &["<|reasoning_thinking_start|>"],
            Control::ThinkingEnd => &["<|reasoning_thinking_end|>"],
        }
    }

    /// Whether generation ends at it.
    #[must_use]
    pub fn stops(self) -> bool {
        matches!(self, Control::EndOfText | Control::Eom | Control::Eot)
    }
}

/// Whether a token of this text is control whatever its declared type: `<|`, a lower-case name, `|>`.
pub(super) fn is_control_name(text: &str) -> bool {
    text.strip_prefix("<|").and_then(|rest| rest.strip_suffix("|>")).is_some_and(|name| {
        !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    })
}
