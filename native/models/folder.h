// A model folder in the diffusers layout: model_index.json and one folder per component with its config and weights.
#pragma once

#include <filesystem>
#include <functional>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "models/family.h"

namespace stepd {

class Folder {
public:
    // Reads model_index.json. Throws Code::not_found or Code::invalid naming the file.
    explicit Folder(std::filesystem::path root);

    const std::filesystem::path& root() const { return root_; }
    // Class of a component ("transformer" -> "PixArtTransformer2DModel"), empty when the folder has none.
    std::string class_of(const std::string& component) const;
    // The component's config.json (scheduler: scheduler_config.json).
    nlohmann::json config(const std::string& component) const;
    // Its weight files: the single file, or all shards of the index. Throws Code::not_found naming what was looked for.
    std::vector<std::filesystem::path> weight_files(const std::string& component) const;

private:
    std::filesystem::path root_;
    nlohmann::json index_;
};

// Parses a JSON file; `-Infinity` and NaN, which Python writes, become null.
// Throws Code::not_found, Code::io or Code::invalid naming the file.
nlohmann::json read_json(const std::filesystem::path& file);

// Reads every parameter of `model` from the safetensors `files`, converting to the dtype of the tensor that
// `destination` returns for it (f32 or bf16; no data: skip). Throws Code::not_found naming file and tensor,
// Code::invalid on a wrong shape, Code::unsupported on a tensor that the model does not know.
using Destination = std::function<Tensor(const ParameterSpec&)>;
void load_weights(const std::vector<std::filesystem::path>& files, const Component& model,
                  const Destination& destination);

}  // namespace stepd
