// What a session knows of its model folder before any weight is read.
#pragma once

#include <memory>
#include <nlohmann/json.hpp>
#include <vector>

#include "adapters/adapter.h"
#include "base/cancellation.h"
#include "models/family.h"
#include "models/folder.h"
#include "train/config.h"
#include "train/data.h"

namespace stepd {

struct Model {
    // Throws Code::not_found, Code::invalid or Code::unsupported naming file, key or field.
    explicit Model(const SessionConfig& config);

    Folder folder;
    const Family& family;
    std::unique_ptr<Denoiser> denoiser;
    std::vector<LinearModule> adapter_modules;
    std::unique_ptr<Adapter> adapter;           // null for a full fine-tune
    std::unique_ptr<Adapter> sampling_adapter;  // the same without dropout
    nlohmann::json scheduler;                   // scheduler_config.json
    LatentScale latent_scale;
    int64_t latent_factor = 1;  // pixels a latent cell spans in each direction
};

// Reads the denoiser's weights into the store and gives the adapter its starting values: those of config.adapter.init,
// or drawn from the seed. cancellation: null, or what may stop it (Code::cancelled).
void load_model(const Model& model, const SessionConfig& config, ParameterStore& store,
                const Cancellation* cancellation);

}  // namespace stepd
