// Sampling: from a request to latents, as diffusers' pipeline of the family does it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "diffusion/noise_schedule.h"
#include "train/graphs.h"
#include "train/model.h"
#include "train/parameters.h"

namespace stepd {

constexpr const char* kPreviewStep = "{step}";  // in PreviewRequest::out, stands for the sampling step

struct PreviewRequest {
    int64_t every = 0;  // sampling steps: step 1, then every `every`-th after it, and the last
    std::string out;
};

struct SampleRequest {
    std::vector<int32_t> ids, negative_ids;
    int64_t width = 0, height = 0;  // pixels
    int64_t steps = 20;
    double guidance = 1;
    uint64_t seed = 0;
    std::string sampler;  // empty: the folder's scheduler
    bool ema = false;
    // The noise is row batch_index of one draw for batch_size pictures, as a pipeline called with several prompts has
    // it.
    int64_t batch_index = 0, batch_size = 0;  // 0: 1
    std::optional<PreviewRequest> preview;
    std::string out;
};

// Throws Code::invalid naming the field.
void check(const SampleRequest& request, const Model& model, int64_t text_tokens, bool has_average);

// Embeddings by token ids, [tokens, width] f32.
using Embeddings = std::map<std::vector<int32_t>, std::vector<float>>;

struct LatentPicture {
    std::vector<float> latents;  // [C, height, width]
    int64_t height = 0, width = 0;
};

// A sampling step that has been taken.
struct SamplingStep {
    int64_t index = 0, steps = 0;  // index from 1
    double timestep = 0;           // that the model got
    std::span<const float> clean;  // the latents that its prediction aims at, [C,height,width]
    int64_t height = 0, width = 0;
};

struct SamplingHooks {
    std::function<bool()> go_on;                         // asked before each step; false: give up (Code::cancelled)
    std::function<void(const SamplingStep&)> on_step{};  // after each step; may be empty
};

class PictureSampler {
public:
    // Weights are read from `store`, averages too when a request asks for them: nothing is copied.
    PictureSampler(const Model& model, const DenoiserGraphs& graphs, ParameterStore& store, Prediction prediction,
                   int64_t text_tokens, Backend& backend);

    LatentPicture sample(const SampleRequest& request, const Embeddings& embeddings, const SamplingHooks& hooks);
    Bucket bucket(const SampleRequest& request) const;  // of its denoising steps

private:
    struct Inputs;
    std::unique_ptr<Executor> executor(const Bucket& bucket, bool average);
    void set_text(const std::vector<float>& embedding, int64_t row, Inputs& inputs) const;
    void denoise(const SampleRequest& request, Inputs& inputs, LatentPicture& picture, const SamplingHooks& hooks);

    const Model& model_;
    const DenoiserGraphs& graphs_;
    ParameterStore& store_;
    Prediction prediction_;
    int64_t text_tokens_;
    Backend& backend_;
};

}  // namespace stepd
