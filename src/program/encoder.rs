//! Encoder recipes: how each H.264 and AAC encoder is told the same thing. A pure table; text in, text out.
//!
//! Every recipe gives what the house relies on: constant bit rate, no B-frames (one time per picture), an IDR picture every
//! `gop` frames and never elsewhere, parameter sets where the parser finds them, a profile that every player decodes, and a pinned raw
//! format (or x264 may pick High 4:4:4). No recipe sets a maximum beside the rate, which would stand in the way when the rate is
//! raised. Units differ between encoders; here, and only here, they are converted.
//!
//! Whether a recipe *works* on this machine is not asked here: see [`crate::program::trial`].

use crate::media::raw::Pixels;
use crate::units::BitRate;

/// What the user asked for.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Settings {
    pub bitrate: BitRate,
    /// Frames from one IDR picture to the next.
    pub gop: u64,
}

/// How the bit rate of a running encoder is changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knob {
    /// A property in kbit/s.
    Kbps(&'static str),
    /// A property in bit/s.
    Bps(&'static str),
    /// A V4L2 control in bit/s, inside the structure property `extra-controls`.
    V4l2Control(&'static str),
}

/// How an encoder takes pictures that lie in dmabufs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Dmabufs {
    /// As any others: it reads them by the CPU.
    Read,
    /// It imports them by itself, one by one; what it cannot import, it reads.
    Import,
    /// It imports them when told so by this property, and then takes nothing else.
    ImportOnly(&'static str),
}

pub struct Recipe {
    /// The GStreamer element, which is also the recipe's name in the configuration.
    pub element: &'static str,
    pub hardware: bool,
    pub pixels: Pixels,
    pub knob: Knob,
    pub dmabufs: Dmabufs,
    /// The piece of pipeline from raw pictures to H.264; the encoder in it is called `encoder`.
    pub text: fn(Settings) -> String,
}

impl Recipe {
    pub fn text(&self, settings: Settings) -> String {
        (self.text)(settings)
    }

    /// The same for an encoder that gets nothing but dmabufs.
    pub fn importing_text(&self, settings: Settings) -> String {
        let text = self.text(settings);
        match self.dmabufs {
            Dmabufs::ImportOnly(property) => text.replacen("name=encoder", &format!("name=encoder {property}"), 1),
            Dmabufs::Import | Dmabufs::Read => text,
        }
    }
}

/// In the order of "auto": hardware before software.
pub const RECIPES: &[Recipe] = &[
    Recipe {
        element: "v4l2h264enc",
        hardware: true,
        pixels: Pixels::Nv12,
        knob: Knob::V4l2Control("video_bitrate"),
        dmabufs: Dmabufs::ImportOnly("output-io-mode=dmabuf-import"),
        text: v4l2,
    },
    Recipe { dmabufs: Dmabufs::Import, ..recipe("mpph264enc", true, Pixels::Nv12, Knob::Bps("bps"), mpp) },
    recipe("nvv4l2h264enc", true, Pixels::Nv12, Knob::Bps("bitrate"), nvidia),
    recipe("vah264enc", true, Pixels::Nv12, Knob::Kbps("bitrate"), va),
    recipe("qsvh264enc", true, Pixels::Nv12, Knob::Kbps("bitrate"), qsv),
    recipe("omxh264enc", true, Pixels::I420, Knob::Bps("target-bitrate"), omx),
    recipe("x264enc", false, Pixels::I420, Knob::Kbps("bitrate"), x264),
    recipe("openh264enc", false, Pixels::I420, Knob::Bps("bitrate"), openh264),
];

/// Of an encoder that reads every picture by the CPU.
const fn recipe(element: &'static str, hardware: bool, pixels: Pixels, knob: Knob, text: fn(Settings) -> String) -> Recipe {
    Recipe { element, hardware, pixels, knob, dmabufs: Dmabufs::Read, text }
}

/// The recipe that the configuration names.
pub fn by_name(element: &str) -> Option<&'static Recipe> {
    RECIPES.iter().find(|recipe| recipe.element == element)
}

/// Linux stateful encoder (V4L2 M2M): controls by the names of the kernel's documentation, spaces to underscores.
fn v4l2(Settings { bitrate, gop }: Settings) -> String {
    let bps = bitrate.bps();
    format!(
        "v4l2h264enc name=encoder extra-controls=\"controls,video_bitrate={bps},video_bitrate_mode=1,video_gop_size={gop},\
         h264_i_frame_period={gop},video_b_frames=0,repeat_sequence_header=1\" ! video/x-h264,profile=high,level=(string)4.2"
    )
}

/// Rockchip MPP.
fn mpp(Settings { bitrate, gop }: Settings) -> String {
    let bps = bitrate.bps();
    format!("mpph264enc name=encoder bps={bps} rc-mode=cbr gop={gop} header-mode=each-idr profile=high")
}

/// NVIDIA Jetson; its encoder takes pictures in its own memory only.
fn nvidia(Settings { bitrate, gop }: Settings) -> String {
    let bps = bitrate.bps();
    format!(
        "nvvidconv ! video/x-raw(memory:NVMM),format=NV12 ! nvv4l2h264enc name=encoder bitrate={bps} control-rate=constant_bitrate \
         iframeinterval={gop} idrinterval={gop} insert-sps-pps=true num-B-Frames=0 profile=High"
    )
}

/// VA-API (Intel, AMD).
fn va(Settings { bitrate, gop }: Settings) -> String {
    let kbps = bitrate.kbps();
    format!(
        "vah264enc name=encoder bitrate={kbps} rate-control=cbr key-int-max={gop} b-frames=0 ref-frames=1 aud=false \
         ! video/x-h264,profile=high"
    )
}

/// Intel Quick Sync.
fn qsv(Settings { bitrate, gop }: Settings) -> String {
    let kbps = bitrate.kbps();
    format!(
        "qsvh264enc name=encoder bitrate={kbps} rate-control=cbr gop-size={gop} idr-interval=0 b-frames=0 \
         low-latency=true ! video/x-h264,profile=high"
    )
}

/// OpenMAX IL (older boards).
fn omx(Settings { bitrate, gop }: Settings) -> String {
    let bps = bitrate.bps();
    format!(
        "omxh264enc name=encoder target-bitrate={bps} control-rate=constant periodicity-idr={gop} interval-intraframes={gop} \
         b-frames=0 inline-header=true ! video/x-h264,profile=high"
    )
}

/// x264 in software: fast enough for a laptop, quality second.
fn x264(Settings { bitrate, gop }: Settings) -> String {
    let kbps = bitrate.kbps();
    format!(
        "x264enc name=encoder bitrate={kbps} pass=cbr vbv-buf-capacity=1000 key-int-max={gop} bframes=0 tune=zerolatency \
         speed-preset=superfast byte-stream=false option-string=\"scenecut=0:open-gop=0:min-keyint={gop}\" ! video/x-h264,profile=main"
    )
}

/// Cisco OpenH264 in software.
fn openh264(Settings { bitrate, gop }: Settings) -> String {
    let bps = bitrate.bps();
    format!(
        "openh264enc name=encoder bitrate={bps} rate-control=bitrate gop-size={gop} complexity=low \
         scene-change-detection=false enable-frame-skip=false multi-thread=0 ! video/x-h264,profile=constrained-baseline"
    )
}

/// An AAC-LC encoder. Those that need samples of another type get them by `audioconvert` in front.
pub struct AudioRecipe {
    pub element: &'static str,
    /// Samples by which its output is late against its time stamps (the encoder's priming), to be subtracted.
    pub priming: u32,
    pub text: fn(BitRate) -> String,
}

impl AudioRecipe {
    pub fn text(&self, bitrate: BitRate) -> String {
        (self.text)(bitrate)
    }
}

/// In order of preference; all take bit/s. The primings were measured by the onset of a tone, encoded and decoded again.
///
/// `voaacenc` comes first because it is small: it is integer code made for ARM and loads in a fifth of the time that
/// libavcodec takes, which counts after a crash.
pub const AUDIO_RECIPES: &[AudioRecipe] = &[
    AudioRecipe { element: "voaacenc", priming: 1600, text: |rate| format!("voaacenc bitrate={}", rate.bps()) },
    AudioRecipe { element: "avenc_aac", priming: 1024, text: |rate| format!("avenc_aac bitrate={} aac-coder=fast", rate.bps()) },
];

#[cfg(test)]
mod tests {
    use super::*;

    const SETTINGS: Settings = Settings { bitrate: BitRate::from_bps(6_000_000), gop: 60 };

    #[test]
    fn every_recipe_states_rate_in_its_own_unit_and_the_gop() {
        for recipe in RECIPES {
            let text = recipe.text(SETTINGS);
            let (name, value) = match recipe.knob {
                Knob::Kbps(name) => (name, "6000"),
                Knob::Bps(name) | Knob::V4l2Control(name) => (name, "6000000"),
            };
            let words: Vec<_> = text.split([' ', ',', '"']).collect();
            assert!(words.contains(&format!("{name}={value}").as_str()), "{text}");
            assert!(text.contains("=60"), "no GOP in {text}");
            assert!(text.contains(&format!("{} name=encoder", recipe.element)), "{text}");
        }
    }

    #[test]
    fn no_recipe_allows_b_frames() {
        for recipe in RECIPES.iter().filter(|recipe| !["mpph264enc", "openh264enc"].contains(&recipe.element)) {
            let text =
                recipe.text(SETTINGS).to_lowercase().replace("video_b_frames", "b-frames").replace("num-b-frames", "b-frames");
            assert!(text.contains("b-frames=0") || text.contains("bframes=0"), "{text}");
        }
    }

    #[test]
    fn what_imports_is_told_so_and_the_rest_of_its_recipe_stays() {
        let text = by_name("v4l2h264enc").unwrap().importing_text(SETTINGS);
        assert!(text.starts_with("v4l2h264enc name=encoder output-io-mode=dmabuf-import extra-controls=\"controls,"), "{text}");
        for recipe in RECIPES {
            let (plain, importing) = (recipe.text(SETTINGS), recipe.importing_text(SETTINGS));
            assert_eq!(importing.replace(" output-io-mode=dmabuf-import", ""), plain);
            assert_eq!(importing == plain, !matches!(recipe.dmabufs, Dmabufs::ImportOnly(_)), "{importing}");
        }
    }

    #[test]
    fn hardware_comes_first() {
        let first_software = RECIPES.iter().position(|recipe| !recipe.hardware).unwrap();
        assert!(RECIPES[first_software..].iter().all(|recipe| !recipe.hardware));
    }
}
