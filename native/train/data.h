// The cached data set: files of latent moments and text embeddings, written by the encoders, and how they fill a
// micro-batch.
#pragma once

#include <cstdint>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "adapters/adapter.h"
#include "models/family.h"
#include "train/objective.h"

namespace stepd {

struct SampleFiles {
    std::string latents;  // safetensors: mean, logvar [C,h,w] f32
    std::string text;     // safetensors: embedding [length, width]
};

// How latents of the denoiser follow from the encoder's: (z - shift) * scale.
struct LatentScale {
    double shift = 0, scale = 1;
};

// Latents of the denoiser without noise, [C,height,width].
struct CleanLatents {
    std::vector<float> values;
    int64_t height = 0, width = 0;
};

class TrainingData {
public:
    TrainingData(const Denoiser& denoiser, const LatentScale& scale, int64_t text_tokens);

    // Reads the headers of all files. empty: the embedding that replaces a dropped caption; may be "" when none is.
    // Throws Code::not_found or Code::invalid naming the file.
    void set(std::vector<SampleFiles> samples, const std::string& empty);
    size_t size() const { return samples_.size(); }

    // The mean latents of one sample.
    CleanLatents clean_latents(size_t sample) const;

    // Of a micro-batch. Throws Code::invalid naming a sample that is not there or has another size than the first.
    Bucket bucket(std::span<const int64_t> samples) const;

    // Fills row `sample` of the text inputs, for a micro-batch of all samples.
    void fill_caption(size_t sample, TrainingInputs& inputs) const;

    struct Options {
        uint64_t seed = 0;
        bool sample_latents = false;
        double noise_offset = 0;
        double offset_probability = 1;  // that a micro-batch has the offset
        double caption_dropout = 0;
    };
    // Fills everything but the adapter's dropout masks of micro-batch `index` by the random-number contract
    // (io/draws.h).
    void fill(const Options& options, const Objective& objective, int64_t index, std::span<const int64_t> samples,
              TrainingInputs& inputs) const;

private:
    struct Entry {
        SampleFiles files;
        int64_t height, width;
    };
    void load_latents(const Entry& entry, const float* eps, std::vector<float>& x0) const;
    void load_text(const std::string& file, int64_t row, TrainingInputs& inputs) const;
    void check_text(const std::string& file) const;

    const Denoiser& denoiser_;
    LatentScale scale_;
    int64_t text_tokens_;
    std::vector<Entry> samples_;
    std::string empty_;
};

// Draws the adapter's dropout masks of micro-batch `index`, layer by layer in module order: an element is kept, and
// scaled by 1/(1-p), when its uniform number is at least p.
void draw_dropout_masks(const std::vector<LinearModule>& modules, double p, uint64_t seed, int64_t index,
                        TrainingInputs& inputs);

}  // namespace stepd
