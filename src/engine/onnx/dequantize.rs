//! `DequantizeLinear` of weights: a file can hold them in eight bits and is a quarter of the size. They become single precision
//! while loading; nothing else in the engine knows of it.

use tract_onnx::pb::NodeProto;
use tract_onnx::tract_hir::internal::*;
use tract_onnx::tract_hir::ops::expandable::expand;

use super::fold;
use crate::error::Error;

/// The operator for a node.
pub(super) fn build(node: &NodeProto) -> TractResult<Box<dyn InferenceOp>> {
    if node.get_attr_opt::<i64>("block_size")?.unwrap_or(0) != 0 {
        return unsupported("weights quantized in blocks: quantize them per tensor or per channel");
    }
    Ok(expand(Dequantize { axis: node.get_attr_opt("axis")?.unwrap_or(1), inputs: node.input.len() }))
}

fn unsupported<T>(what: &str) -> TractResult<T> {
    Err(TractError::new(Error::unsupported(format!("DequantizeLinear: {what}"))))
}

/// Integers, scale, and perhaps a zero point → single precision: `(x − zero) · scale`. Scale and zero point are numbers or one
/// number for each place along the axis.
#[derive(Debug, Clone)]
struct Dequantize {
    axis: i64,
    inputs: usize,
}

impl Expansion for Dequantize {
    fn name(&self) -> StaticName {
        "DequantizeLinear".into()
    }

    fn rules<'r, 'p: 'r, 's: 'r>(
        &'s self,
        s: &mut Solver<'r>,
        inputs: &'p [TensorProxy],
        outputs: &'p [TensorProxy],
    ) -> InferenceResult {
        ensure!((2..=3).contains(&self.inputs), "{} inputs", self.inputs);
        check_input_arity(inputs, self.inputs)?;
        check_output_arity(outputs, 1)?;
        s.equals(&outputs[0].datum_type, f32::datum_type())?;
        s.equals(&outputs[0].shape, &inputs[0].shape)
    }

    fn wire(&self, prefix: &str, model: &mut TypedModel, inputs: &[OutletId]) -> TractResult<TVec<OutletId>> {
        let constants =
            inputs.iter().map(|o| Ok(model.outlet_fact(*o)?.konst.clone())).collect::<TractResult<Vec<_>>>()?;
        let constants: Option<Vec<_>> = constants.into_iter().collect();
        let Some(constants) = constants else {
            return unsupported("of values that are computed: only weights may be quantized");
        };
        let [x, scale, zero @ ..] = &constants[..] else { bail!("DequantizeLinear has {} inputs", inputs.len()) };
        let values = self.values(x, scale, zero.first())?;
        Ok(tvec!(model.add_const(prefix, values)?))
    }
}

impl Dequantize {
    fn values(&self, x: &Tensor, scale: &Tensor, zero: Option<&Arc<Tensor>>) -> TractResult<Tensor> {
        let types = [i8::datum_type(), u8::datum_type(), i32::datum_type()];
        if !types.contains(&x.datum_type()) || scale.datum_type() != f32::datum_type() {
            return unsupported(&format!("of {:?} with scales of {:?}", x.datum_type(), scale.datum_type()));
        }
        ensure!(
            zero.is_none_or(|z| z.datum_type() == x.datum_type()),
            "DequantizeLinear: a zero point of another type"
        );
        let rank = x.rank();
        let single = scale.len() == 1 && zero.is_none_or(|z| z.len() == 1);
        // How often a place along the axis is followed by the next: the values behind the axis.
        let (places, behind) = if single {
            (1, x.len().max(1))
        } else {
            let axis = usize::try_from(if self.axis < 0 { self.axis + rank.to_i64()? } else { self.axis });
            let axis = axis.ok().filter(|a| *a < rank).with_context(|| format!("axis {} of rank {rank}", self.axis))?;
            (x.shape()[axis], x.shape()[axis + 1..].iter().product::<usize>().max(1))
        };
        let fits = |n: usize| n == 1 || n == places;
        ensure!(
            fits(scale.len()) && zero.is_none_or(|z| fits(z.len())),
            "DequantizeLinear: scales for {places} places"
        );
        fold::pay((x.len() as u64).saturating_mul(4))?;
        let scales = scale.try_as_plain_ram()?.as_slice::<f32>()?.to_vec();
        let zeros = zero.map(|z| integers(z)).transpose()?.unwrap_or_else(|| vec![0]);
        let mut out = Tensor::zero::<f32>(x.shape())?;
        let mut plain = out.try_as_plain_ram_mut()?;
        let rows = plain.as_slice_mut::<f32>()?.chunks_mut(behind).enumerate();
        let of = |all: &[i32], at: usize| all.get(if all.len() == 1 { 0 } else { at }).copied().unwrap_or(0);
        let scale_of = |at: usize| scales.get(if scales.len() == 1 { 0 } else { at }).copied().unwrap_or(f32::NAN);
        let each = |row: usize| (scale_of(row % places.max(1)), of(&zeros, row % places.max(1)));
        let x = x.try_as_plain_ram()?;
        if let Ok(x) = x.as_slice::<i8>() {
            rows.zip(x.chunks(behind)).for_each(|((row, out), x)| fill(out, x, each(row)));
        } else if let Ok(x) = x.as_slice::<u8>() {
            rows.zip(x.chunks(behind)).for_each(|((row, out), x)| fill(out, x, each(row)));
        } else {
            rows.zip(x.as_slice::<i32>()?.chunks(behind)).for_each(|((row, out), x)| fill(out, x, each(row)));
        }
        Ok(out)
    }
}

fn integers(x: &Tensor) -> TractResult<Vec<i32>> {
    Ok(x.cast_to::<i32>()?.try_as_plain_ram()?.as_slice::<i32>()?.to_vec())
}

fn fill<T: Copy + Into<i32>>(out: &mut [f32], x: &[T], (scale, zero): (f32, i32)) {
    out.iter_mut().zip(x).for_each(|(out, x)| *out = (*x).into().wrapping_sub(zero) as f32 * scale);
}

#[cfg(test)]
mod tests {
    use super::*;

    fn values(axis: i64, x: Tensor, scale: &[f32], zero: Option<Tensor>) -> TractResult<Vec<f32>> {
        let inputs = 2 + usize::from(zero.is_some());
        let scale = Tensor::from_shape(&[scale.len()], scale)?;
        let out = Dequantize { axis, inputs }.values(&x, &scale, zero.map(Arc::new).as_ref())?;
        Ok(out.try_as_plain_ram()?.as_slice::<f32>()?.to_vec())
    }

    #[test]
    fn each_place_along_the_axis_has_its_scale() {
        let x = || Tensor::from_shape(&[2, 3], &[-128i8, 127, 1, 2, 3, 4]).unwrap();
        assert_eq!(values(1, x(), &[1.0, 2.0, 4.0], None).unwrap(), [-128.0, 254.0, 4.0, 2.0, 6.0, 16.0]);
        assert_eq!(values(-2, x(), &[1.0, 2.0], None).unwrap(), [-128.0, 127.0, 1.0, 4.0, 6.0, 8.0]);
        let zero = Tensor::from_shape(&[2], &[1i8, -1]).unwrap();
        assert_eq!(values(0, x(), &[1.0, 2.0], Some(zero)).unwrap(), [-129.0, 126.0, 0.0, 6.0, 8.0, 10.0]);
    }

    #[test]
    fn one_scale_serves_all_whatever_the_axis() {
        let x = Tensor::from_shape(&[3], &[0u8, 128, 255]).unwrap();
        let zero = Tensor::from_shape(&[], &[128u8]).unwrap();
        assert_eq!(values(7, x, &[0.5], Some(zero)).unwrap(), [-64.0, 0.0, 63.5]);
    }

    #[test]
    fn scales_that_do_not_fit_are_an_error() {
        let x = || Tensor::from_shape(&[2, 3], &[0i8; 6]).unwrap();
        assert!(values(1, x(), &[1.0, 2.0], None).is_err());
        assert!(values(2, x(), &[1.0, 2.0], None).is_err());
        assert!(values(i64::MIN, x(), &[1.0, 2.0], None).is_err());
        assert!(values(0, x(), &[1.0, 2.0], Some(Tensor::from_shape(&[2], &[0u8, 0]).unwrap())).is_err());
        assert!(values(0, Tensor::from_shape(&[2], &[1i64, 2]).unwrap(), &[1.0], None).is_err());
    }
}
