//! Validated hyperparameters and tensor names as shaped views.
