//! The trunk as thicknesses along the beam: outline, thoracic cavity, diaphragm, mediastinum, heart.
//!
//! Every shape is a chord length in cm at a body point (x, y), so borders come out as they do on
//! a film: sharp where the beam grazes a surface, soft where it enters slowly.

use super::canvas::smoothstep;
use crate::random::Random;

/// Right is 0 and left is 1, as an index; −1 and +1 as the sign of x.
pub(super) fn side_index(x: f32) -> usize {
    usize::from(x > 0.0)
}

/// The sign of x on side `index`.
pub(super) fn sign(index: usize) -> f32 {
    if index == 0 { -1.0 } else { 1.0 }
}

/// Where the middle of a lung apex lies beside the midline, cm.
const APEX: f32 = 5.4;

/// Span of the heart's ellipses at scale one, cm: left of and right of the midline.
const HEART_SPAN: f32 = 13.4;

/// The shape of one patient; what changes with the visit is in [`Posture`].
#[derive(Clone, Debug)]
pub(super) struct Build {
    pub(super) female: bool,
    /// 0 slim … 1 heavy.
    pub(super) bulk: f32,
    pub(super) half_width: f32,
    pub(super) height: f32,
    pub(super) depth: f32,
    /// Cardiothoracic ratio of the healthy heart.
    pub(super) ratio: f32,
    pub(super) breast: f32,
    /// Unfolding and widening of the aorta with age, 0 … 1.
    pub(super) aorta: f32,
    pub(super) tilt: f32,
    pub(super) shoulder: f32,
}

impl Build {
    /// A build drawn for a patient of the given sex and age (years).
    pub(super) fn draw(female: bool, age: f32, random: &mut Random) -> Self {
        let mut range = |low: f32, high: f32| random.range(low.into(), high.into()) as f32;
        let bulk = range(0.0, 1.0) * range(0.5, 1.0);
        let small = if female { 0.91 } else { 1.0 };
        Self {
            female,
            bulk,
            half_width: small * (range(12.9, 14.4) + 0.6 * bulk),
            height: small * range(22.0, 26.0) - 1.2 * bulk,
            depth: small * range(8.0, 9.6) + 0.8 * bulk,
            ratio: range(0.40, 0.465) + 0.015 * bulk,
            breast: if female { range(1.4, 3.2) + 2.2 * bulk } else { 0.0 },
            aorta: smoothstep(35.0, 85.0, age) * range(0.5, 1.0),
            tilt: range(0.4, 0.68) - 0.16 * bulk,
            shoulder: small * range(16.6, 18.4),
        }
    }
}

/// What the visit adds to a build.
#[derive(Clone, Debug)]
pub(super) struct Posture {
    /// Bedside film, front to back.
    pub(super) portable: bool,
    /// Depth of the breath, 1 full … 0.75 shallow.
    pub(super) breath: f32,
    /// Sideways shift per cm of height above the table, from rotation about the long axis.
    pub(super) rotation: f32,
    /// Rise of the right and left dome from volume loss, cm.
    pub(super) lift: [f32; 2],
    /// Shift of the mediastinum to the patient's left, cm.
    pub(super) shift: f32,
    /// Cardiothoracic ratio on this film.
    pub(super) ratio: f32,
}

/// The trunk on one film.
#[derive(Clone, Debug)]
pub(super) struct Body {
    pub(super) build: Build,
    pub(super) posture: Posture,
    /// Height of the lung from apex to the right dome, cm.
    pub(super) height: f32,
    /// Tops of the right and left dome, y in cm.
    pub(super) domes: [f32; 2],
    /// Where the trachea divides, y in cm.
    pub(super) carina: f32,
    ellipses: [Ellipse; 4],
    knob: Ellipse,
}

#[derive(Clone, Copy, Debug)]
struct Ellipse {
    x: f32,
    y: f32,
    rx: f32,
    ry: f32,
    sin: f32,
    cos: f32,
    depth: f32,
}

impl Ellipse {
    fn new(x: f32, y: f32, rx: f32, ry: f32, angle: f32, depth: f32) -> Self {
        let (sin, cos) = angle.sin_cos();
        Self { x, y, rx, ry, sin, cos, depth }
    }

    /// 1 in the middle, 0 on the border, negative outside.
    fn inside(&self, x: f32, y: f32) -> f32 {
        let (x, y) = (x - self.x, y - self.y);
        let u = (self.cos * x + self.sin * y) / self.rx;
        let v = (self.cos * y - self.sin * x) / self.ry;
        1.0 - u * u - v * v
    }

    fn chord(&self, x: f32, y: f32) -> f32 {
        self.depth * self.inside(x, y).max(0.0).sqrt()
    }
}

impl Body {
    pub(super) fn new(build: Build, posture: Posture) -> Self {
        let height = build.height * posture.breath;
        let domes = [height - posture.lift[0], height + 1.3 - posture.lift[1]];
        let carina = 0.37 * height;
        let front = 4.0 * posture.rotation + posture.shift;
        let scale = posture.ratio * 2.0 * build.half_width / HEART_SPAN;
        let tall = scale.powf(0.55);
        // The heart rests on the healthy left dome: volume loss below it pushes it little.
        let floor = height + 0.9 - 0.3 * posture.lift[1];
        let ellipses = [
            Ellipse::new(
                2.2 * scale + front,
                floor - 6.3 * tall,
                6.0 * scale,
                4.1 * tall,
                0.78,
                11.0,
            ),
            Ellipse::new(
                2.6 * scale + front,
                floor - 4.0 * tall,
                6.6 * scale,
                4.7 * tall,
                build.tilt,
                12.5,
            ),
            Ellipse::new(
                -1.5 * scale + front,
                floor - 5.5 * tall,
                3.1 * scale,
                5.3 * tall,
                0.0,
                9.5,
            ),
            Ellipse::new(
                2.0 * scale + front,
                floor - 8.4 * tall,
                3.1 * scale,
                3.5 * tall,
                0.5,
                9.0,
            ),
        ];
        let knob = Ellipse::new(
            2.2 + 0.7 * build.aorta + posture.shift,
            carina - 2.3 - 0.6 * build.aorta,
            1.7 + 0.5 * build.aorta,
            1.75 + 0.4 * build.aorta,
            0.0,
            7.0,
        );
        Self { build, posture, height, domes, carina, ellipses, knob }
    }

    /// Lateral border of the thoracic cavity at height y, cm from the midline.
    pub(super) fn outer(&self, y: f32) -> f32 {
        let u = 1.0 - (y / (0.78 * self.height)).clamp(0.0, 1.0);
        let taper = 0.012 * (y - 0.8 * self.height).max(0.0);
        let bulge = (1.0 - u.powf(2.3)).max(0.0).sqrt();
        APEX + (self.build.half_width - APEX) * bulge - taper
    }

    fn inner(y: f32) -> f32 {
        let u = 1.0 - (y / 2.8).clamp(0.0, 1.0);
        APEX * (1.0 - (1.0 - u * u).max(0.0).sqrt())
    }

    /// Half of the front-to-back depth of the cavity at height y, cm.
    pub(super) fn half_depth(&self, y: f32) -> f32 {
        let u = 1.0 - (y / (0.62 * self.height)).clamp(0.0, 1.0);
        self.build.depth * (0.42 + 0.58 * (1.0 - u * u).sqrt())
    }

    /// Thickness of the hemithorax on the side of x, cm; the diaphragm is not yet taken off.
    pub(super) fn cavity(&self, x: f32, y: f32) -> f32 {
        if y <= 0.0 {
            return 0.0;
        }
        let (low, high) = (Self::inner(y), self.outer(y));
        let half = (high - low) / 2.0;
        if half <= 0.0 {
            return 0.0;
        }
        let u = ((x.abs() - low - half) / half).abs();
        if u >= 1.0 { 0.0 } else { 2.0 * self.half_depth(y) * (1.0 - u * u * u).sqrt() }
    }

    /// Distance from the chest wall and apex to a point inside the cavity, cm; negative outside.
    pub(super) fn wall_distance(&self, x: f32, y: f32) -> f32 {
        let lateral = self.outer(y) - x.abs();
        // The apex is a cap: its top falls away on both sides of its middle.
        let cap = y - 0.055 * (x.abs() - APEX).powi(2).min(60.0);
        // Rounded where wall and apex meet, as the lung is.
        let near = (1.0 - (lateral - cap).abs() / 6.0).max(0.0);
        lateral.min(cap) - 1.5 * near * near * near
    }

    /// The diaphragm's silhouette at x, y in cm.
    pub(super) fn dome(&self, x: f32) -> f32 {
        let top = self.domes[side_index(x)];
        let wall = self.outer(top + 3.0);
        let peak = 0.44 * wall;
        let away = x.abs() - peak;
        if away > 0.0 {
            let v = (away / (wall - peak)).min(1.0);
            let v = v * v;
            top + 5.2 * (0.55 * v + 0.45 * (1.0 - (1.0 - 0.98 * v).sqrt()))
        } else {
            top + 1.0 * (away / peak).powi(2)
        }
    }

    /// How much of the cavity's thickness the abdomen takes at a point, 0 … 1.
    pub(super) fn abdomen(&self, x: f32, y: f32) -> f32 {
        ((y - self.dome(x)) / 4.0).clamp(0.0, 1.0).sqrt()
    }

    /// Thickness of heart at a point, cm; its support is the cardiac silhouette.
    pub(super) fn heart(&self, x: f32, y: f32) -> f32 {
        let sum: f32 = self.ellipses.iter().map(|e| e.chord(x, y).powi(4)).sum();
        sum.sqrt().sqrt()
    }

    /// Left, top, right and bottom of the cardiac silhouette, cm.
    pub(super) fn heart_bounds(&self) -> [f32; 4] {
        let mut bounds = [f32::INFINITY, f32::INFINITY, f32::NEG_INFINITY, f32::NEG_INFINITY];
        for e in &self.ellipses {
            let rx = (e.rx * e.cos).hypot(e.ry * e.sin);
            let ry = (e.rx * e.sin).hypot(e.ry * e.cos);
            bounds[0] = bounds[0].min(e.x - rx);
            bounds[1] = bounds[1].min(e.y - ry);
            bounds[2] = bounds[2].max(e.x + rx);
            bounds[3] = bounds[3].max(e.y + ry);
        }
        bounds
    }

    /// Thickness of the great vessels, spine and other tissue between the lungs, cm.
    pub(super) fn mediastinum(&self, x: f32, y: f32) -> f32 {
        let depth = 2.0 * self.half_depth(y);
        let shift = self.posture.shift * smoothstep(-3.0, self.carina, y);
        let aged = self.build.aorta;
        // Superior vena cava and ascending aorta on the right, arch and trunk on the left.
        let right = 2.7
            + 0.5 * aged * smoothstep(4.0, 9.0, y)
            + 1.3 * smoothstep(self.carina - 2.0, -2.0, y);
        let left = 2.3 + 1.6 * smoothstep(self.carina - 3.5, -2.0, y);
        let x0 = x - shift - 2.0 * self.posture.rotation;
        let u = (x0 / if x0 > 0.0 { left } else { right }).abs();
        let column = if u < 1.0 { 0.66 * depth * (1.0 - u * u).sqrt() } else { 0.0 };
        // Descending aorta: a thin line left of the spine, down to the diaphragm.
        let aorta = 2.0 + 0.9 * aged + 0.5 * (y * 0.13).sin() * aged + 0.4 * shift;
        let v = (x - aorta) / 1.45;
        let low =
            if y > self.carina - 2.5 && v.abs() < 1.0 { 3.0 * (1.0 - v * v).sqrt() } else { 0.0 };
        let sum = column.powi(4) + low.powi(4) + self.knob.chord(x, y).powi(4);
        sum.sqrt().sqrt()
    }

    /// Thickness of the whole trunk with neck, shoulders, arms and breasts, cm.
    pub(super) fn outline(&self, x: f32, y: f32) -> f32 {
        let b = &self.build;
        let neck = 5.6 + 1.4 * b.bulk;
        let torso = self.outer(y.max(9.0)) + 2.8 + 3.0 * b.bulk;
        let slope = smoothstep(-7.5, 3.5, y);
        let girdle = neck + (b.shoulder - neck) * slope * slope.sqrt();
        let half = girdle + (torso - girdle) * smoothstep(3.0, 12.0, y);
        let front = 6.8 + b.bulk + (b.depth + 1.6 + 1.9 * b.bulk - 6.8) * smoothstep(-5.0, 9.0, y);
        let u = (x / half).abs();
        let trunk = if u < 1.0 { 2.0 * front * (1.0 - u.powi(4)).sqrt() } else { 0.0 };
        let arm = self.arm(x.abs(), y);
        (trunk.powi(4) + arm.powi(4)).sqrt().sqrt() + self.breast(x, y)
    }

    fn arm(&self, x: f32, y: f32) -> f32 {
        let b = &self.build;
        let spread = if self.posture.portable { 0.10 } else { 0.34 };
        let axis = b.shoulder - 0.4 + spread * (y - 3.0).max(0.0);
        let radius = 4.3 + 1.3 * b.bulk;
        let along = (3.0 - y).max(0.0);
        let d = (x - axis).hypot(along) / radius;
        if d < 1.0 { 2.0 * radius * (1.0 - d * d).sqrt() } else { 0.0 }
    }

    fn breast(&self, x: f32, y: f32) -> f32 {
        let size = self.build.breast;
        if size <= 0.0 {
            return 0.0;
        }
        let sag = 0.62 * self.height + 0.35 * size;
        let radius = 5.4 + 0.45 * size;
        let u = (x.abs() - 0.57 * self.build.half_width) / radius;
        let below = y > sag;
        let v = (y - sag) / if below { radius * 0.82 } else { radius * 1.6 };
        let inside = (1.0 - u * u - v * v).max(0.0);
        size * if below { inside.sqrt() } else { inside.sqrt() * (0.4 + 0.6 * inside) }
    }
}
