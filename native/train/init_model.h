// Random weights for training from nothing, in the layout of a diffusers folder.
#pragma once

#include <cstdint>
#include <string>

namespace stepd {

struct InitModelRequest {
    std::string family;
    std::string component = "transformer";  // or "text_encoder", "vae"
    std::string config;                     // config.json of the component
    uint64_t seed = 0;
    std::string out;  // folder that receives config.json and weights
    std::string dtype = "fp32";
};

// Throws Code::invalid, Code::unsupported or Code::io naming the field or file.
void init_model(const InitModelRequest& request);

}  // namespace stepd
