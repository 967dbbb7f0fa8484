// Sampling: from a request to latents, as diffusers' pipeline of the family does it.
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <string>
#include <vector>

#include "diffusion/noise_schedule.h"
#include "train/graphs.h"
#include "train/model.h"
#include "train/parameters.h"

namespace stepd {

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

class PictureSampler {
public:
    // Weights are read from `store`, averages too when a request asks for them: nothing is copied.
    PictureSampler(const Model& model, const DenoiserGraphs& graphs, ParameterStore& store, Prediction prediction,
                   int64_t text_tokens, Backend& backend);

    // Calls `go_on` before each denoising step and gives up (Code::cancelled) when it returns false.
    LatentPicture sample(const SampleRequest& request, const Embeddings& embeddings,
                         const std::function<bool()>& go_on);

private:
    struct Inputs;
    std::unique_ptr<Executor> executor(const Bucket& bucket, bool average);
    void set_text(const std::vector<float>& embedding, int64_t row, Inputs& inputs) const;
    void denoise(const SampleRequest& request, Inputs& inputs, LatentPicture& picture,
                 const std::function<bool()>& go_on);

    const Model& model_;
    const DenoiserGraphs& graphs_;
    ParameterStore& store_;
    Prediction prediction_;
    int64_t text_tokens_;
    Backend& backend_;
};

}  // namespace stepd
