// Pictures of a sample that is still being made: by a tiny autoencoder when the model folder has one (vae_tiny/ or
// taesd/, diffusers' AutoencoderTiny), else by a linear fit of the latents to this autoencoder's own colours.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "train/component.h"
#include "train/data.h"
#include "train/latent_rgb.h"
#include "train/pictures.h"

namespace stepd {

struct PreviewEvent {
    int64_t request = 0;  // position in the list given to Session::sample
    int64_t step = 0;     // of sampling, from 1
    int64_t steps = 0;
    double timestep = 0;
    std::string path;   // empty when the preview could not be made
    std::string error;  // why; after the first failure of a call there are no more previews
};

// What previews know from one call of Session::sample to the next.
struct PreviewCache {
    std::optional<LatentRgb> fit;  // made once: later pictures keep their colours
};

class Previews {
public:
    // Everything referenced must outlive the object. data: its cached latents are what the fit is made from.
    Previews(const Model& model, DecoderRunner& autoencoder, const TrainingData& data, PreviewCache& cache,
             Backend& backend, std::function<void(const PreviewEvent&)> report);
    ~Previews();

    // Writes and reports the preview of this step where `request` asks for one. A failure is reported once and then
    // ends the previews, never the picture.
    void step(int64_t index, const SampleRequest& request, const SamplingStep& step);

private:
    struct Tiny;
    Image decode(const SamplingStep& step);
    LatentRgb fit() const;

    const Model& model_;
    DecoderRunner& autoencoder_;
    const TrainingData& data_;
    PreviewCache& cache_;
    Backend& backend_;
    std::function<void(const PreviewEvent&)> report_;
    std::unique_ptr<Tiny> tiny_;
    bool failed_ = false;
};

}  // namespace stepd
