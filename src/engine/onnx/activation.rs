//! Activations that follow a product, and how they are found in a graph.

use tract_onnx::prelude::*;
use tract_onnx::tract_core::ops::binary::TypedBinOp;
use tract_onnx::tract_core::ops::element_wise::ElementWiseOp;
use tract_onnx::tract_core::tract_linalg::element_wise::ElementWise;
use tract_onnx::tract_core::tract_linalg::routines::Func;
use tract_onnx::tract_hir::internal::*;

use super::proof;

/// A function of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Activation {
    /// `max(x, 0)`
    Relu,
    /// `x (1 + erf(x / √2)) / 2`
    Gelu,
    /// `x (1 + tanh(√(2/π) (x + 0.044715 x³))) / 2`
    GeluTanh,
}

/// Nodes that one activation is spelled with.
const MOST_NODES: usize = 12;
/// What a value of the proof may differ by, absolutely: half a unit in the fifth digit of the values that GELU bends. The two
/// forms of GELU are forty times as far apart.
const TOLERANCE: f32 = 1e-5;
/// Values at a time, which stay in the first cache.
const CHUNK: usize = 1024;

/// An activation with the vector functions it is made of.
pub(super) struct Ready {
    activation: Activation,
    function: Option<Box<dyn ElementWise<f32>>>,
}

impl Activation {
    pub(super) fn ready(self) -> TractResult<Ready> {
        let function = match self {
            Self::Relu => None,
            Self::Gelu => Some(Func::Erf.ew_f32()?),
            Self::GeluTanh => Some(Func::Tanh.ew_f32()?),
        };
        Ok(Ready { activation: self, function })
    }
}

impl Ready {
    /// Each value of `x` becomes the activation's.
    pub(super) fn run(&self, x: &mut [f32]) -> TractResult<()> {
        let Some(function) = &self.function else {
            // A NaN stays one, so that a broken run is noticed at its end.
            x.iter_mut().for_each(|x| *x = if *x < 0.0 { 0.0 } else { *x });
            return Ok(());
        };
        let mut inner = [0.0f32; CHUNK];
        for x in x.chunks_mut(CHUNK) {
            let inner = inner.get_mut(..x.len()).unwrap_or_default();
            match self.activation {
                Activation::GeluTanh => {
                    let at = |x: f32| 0.797_884_6 * (x + 0.044_715 * (x * x * x));
                    inner.iter_mut().zip(&*x).for_each(|(i, x)| *i = at(*x));
                }
                _ => inner.iter_mut().zip(&*x).for_each(|(i, x)| *i = x * std::f32::consts::FRAC_1_SQRT_2),
            }
            function.run(inner)?;
            x.iter_mut().zip(&*inner).for_each(|(x, i)| *x = 0.5 * *x * (1.0 + i));
        }
        Ok(())
    }
}

/// The activation that nodes after `from` compute and the outlet with its values, when nothing else reads `from` or a value in
/// between. The nodes are functions of each value alone; which one they compute is tried on values.
pub(super) fn find(model: &TypedModel, from: OutletId) -> Option<(Activation, OutletId)> {
    let shape = &model.outlet_fact(from).ok()?.shape;
    let outputs = model.output_outlets().ok()?;
    let mut region = vec![from];
    for _ in 0..MOST_NODES {
        let next = region.iter().flat_map(|o| successors(model, *o)).find(|id| {
            let node = model.node(*id);
            let inside = |o: &OutletId| region.contains(o) || is_number(model, *o);
            let alike = matches!(&node.outputs[..], [o] if o.fact.shape == *shape && o.fact.datum_type.is_float());
            !region.contains(&OutletId::new(*id, 0)) && alike && by_value(node) && node.inputs.iter().all(inside)
        })?;
        let exit = OutletId::new(next, 0);
        region.push(exit);
        let inner = |o: &OutletId| {
            *o == exit || !outputs.contains(o) && successors(model, *o).all(|id| region.contains(&OutletId::new(id, 0)))
        };
        if region.iter().all(inner)
            && let Some(activation) = tried(model, from, exit)
        {
            return Some((activation, exit));
        }
    }
    None
}

fn successors(model: &TypedModel, o: OutletId) -> impl Iterator<Item = usize> {
    let inlets = model.node(o.node).outputs.get(o.slot).map(|o| &o.successors[..]).unwrap_or_default();
    inlets.iter().map(|i| i.node)
}

fn is_number(model: &TypedModel, o: OutletId) -> bool {
    model.outlet_fact(o).is_ok_and(|f| f.konst.is_some() && f.uniform.is_some())
}

/// Whether each value of the output depends on the values in its place alone.
fn by_value(node: &TypedNode) -> bool {
    node.op_is::<TypedBinOp>() || node.op_as::<ElementWiseOp>().is_some_and(|op| op.1.is_none())
}

fn tried(model: &TypedModel, from: OutletId, exit: OutletId) -> Option<Activation> {
    // One value at a time costs a table's row each: a last dimension is as wide as the graph says.
    let fact = model.outlet_fact(from).ok()?;
    let wide = fact.shape.dims().last()?.to_usize().ok()?;
    let rows = 2048usize.div_ceil(wide).max(1);
    let n = (rows * wide) as f32;
    let values: Vec<f32> = (0..rows * wide).map(|i| (i as f32 / n - 0.5) * 24.0).collect();
    let mut shape: TVec<usize> = tvec!(1; fact.rank());
    *shape.last_mut()? = wide;
    *shape.first_mut()? *= rows;
    let x = Tensor::from_shape(&shape, &values).ok()?.into_tvalue();
    let theirs = proof::run(model, &[from], exit, tvec!(x)).ok()?;
    let theirs = theirs.try_as_plain_ram().ok()?.as_slice::<f32>().ok()?.to_vec();
    [Activation::Relu, Activation::Gelu, Activation::GeluTanh].into_iter().find(|activation| {
        let mut ours = values.clone();
        let ran = activation.ready().is_ok_and(|ready| ready.run(&mut ours).is_ok());
        ran && ours.len() == theirs.len() && ours.iter().zip(&theirs).all(|(a, b)| (a - b).abs() <= TOLERANCE)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// erf to 1e-15 by its series, and by one minus the continued fraction of its complement.
    fn erf(x: f64) -> f64 {
        if x.abs() < 3.0 {
            let (mut term, mut sum, mut n) = (x, x, 0.0);
            while term.abs() > 1e-18 {
                n += 1.0;
                term *= -x * x / n;
                sum += term / (2.0 * n + 1.0);
            }
            return sum * 2.0 / std::f64::consts::PI.sqrt();
        }
        let tail = (1..60).rev().fold(0.0, |t, k| f64::from(k) / 2.0 / (x.abs() + t));
        let complement = (-x * x).exp() / std::f64::consts::PI.sqrt() / (x.abs() + tail);
        x.signum() * (1.0 - complement)
    }

    #[test]
    fn gelu_is_that_of_double_precision() {
        let x: Vec<f32> = (-40_000..=40_000).map(|i| i as f32 / 4000.0).collect();
        let exact = |x: f64| x * (1.0 + erf(x / 2f64.sqrt())) / 2.0;
        let tanh = |x: f64| x * (1.0 + ((2.0 / std::f64::consts::PI).sqrt() * (x + 0.044715 * x.powi(3))).tanh()) / 2.0;
        for (activation, wanted) in [(Activation::Gelu, &exact as &dyn Fn(f64) -> f64), (Activation::GeluTanh, &tanh)] {
            let mut ours = x.clone();
            activation.ready().unwrap().run(&mut ours).unwrap();
            for (x, y) in x.iter().zip(ours) {
                let far = (f64::from(y) - wanted(f64::from(*x))).abs();
                assert!(far <= 1e-6 * f64::from(x.abs()).max(0.5), "{activation:?}({x}) = {y}, off by {far}");
            }
        }
    }

    #[test]
    fn what_is_no_number_stays_none() {
        for activation in [Activation::Relu, Activation::Gelu, Activation::GeluTanh] {
            let mut x = [1.0, f32::NAN, -1.0];
            activation.ready().unwrap().run(&mut x).unwrap();
            assert!(x[1].is_nan() && !x[0].is_nan() && !x[2].is_nan(), "{activation:?} {x:?}");
        }
    }
}
