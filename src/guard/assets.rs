//! The guard's files: those inside the library.

use super::classifier::Files;

/// The rules inside the library, by name.
pub(super) const RULES: [(&str, &str); 4] = [
    ("injection.toml", include_str!("../../guards/rules/injection.toml")),
    ("hazards.toml", include_str!("../../guards/rules/hazards.toml")),
    ("personal.toml", include_str!("../../guards/rules/personal.toml")),
    ("special.toml", include_str!("../../guards/rules/special.toml")),
];

/// The classifier inside the library.
pub(super) const CLASSIFIER: Files<'static> = Files {
    config: include_str!("../../guards/classifier/classifier.toml"),
    model: include_bytes!("../../guards/classifier/model.onnx"),
    tokenizer: include_bytes!("../../guards/classifier/tokenizer.json"),
};
