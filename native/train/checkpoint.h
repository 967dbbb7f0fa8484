// Files of a checkpoint: weights.safetensors (trained parameters as stored), optimizer.safetensors (its state, named
// <parameter>.<state>), ema.safetensors (when there is an average) and state.json.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "optim/optimizer.h"
#include "train/config.h"
#include "train/parameters.h"

namespace stepd {

// Writes the files into `dir`, each flushed to disk, and returns their names. Throws Code::numeric naming a parameter
// that is not finite: such weights are never published.
std::vector<std::string> save_checkpoint(const std::string& dir, const SessionConfig& config,
                                         const OptimizerMethod& method, ParameterStore& store, int64_t step);

// Reads what save_checkpoint wrote and returns its step. Everything is checked before anything changes: throws
// Code::not_found or Code::invalid naming the file, and the setting or tensor that does not fit.
int64_t restore_checkpoint(const std::string& dir, const SessionConfig& config, const OptimizerMethod& method,
                           ParameterStore& store);

}  // namespace stepd
