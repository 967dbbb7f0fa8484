// A model folder in the diffusers layout: model_index.json and one folder per component with its config and weights.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>

#include "models/family.h"

namespace stepd {

class SafetensorsReader;  // io/safetensors.h

class Folder {
public:
    // Reads model_index.json. Throws Code::not_found or Code::invalid naming the file.
    explicit Folder(std::filesystem::path root);

    const std::filesystem::path& root() const { return root_; }
    // Class of a component ("transformer" -> "PixArtTransformer2DModel"), empty when the folder has none.
    std::string class_of(const std::string& component) const;
    // The component's config.json (scheduler: scheduler_config.json).
    nlohmann::json config(const std::string& component) const;
    // The component's folder, which SafetensorsReader opens. Throws Code::not_found naming it.
    std::string path_of(const std::string& component) const;

private:
    std::filesystem::path root_;
    nlohmann::json index_;
};

// Parses a JSON file; `-Infinity` and NaN, which Python writes, become null.
// Throws Code::not_found, Code::io or Code::invalid naming the file.
nlohmann::json read_json(const std::filesystem::path& file);

// Reads every parameter of `model`, converting to the dtype of the tensor that `destination` returns for it (f32 or
// bf16; no data: skip). Throws Code::not_found naming folder and tensor, Code::invalid on a wrong shape,
// Code::unsupported on a tensor that the model does not know: the files then hold another model.
using Destination = std::function<Tensor(const ParameterSpec&)>;
void load_weights(const SafetensorsReader& reader, const Component& model, const Destination& destination);

}  // namespace stepd
