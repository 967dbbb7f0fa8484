// AutoencoderKL: the convolutional autoencoder of latent diffusion (Rombach et al. 2022).
#pragma once

#include "models/family.h"

namespace stepd {

std::unique_ptr<Autoencoder> make_autoencoder_kl(const nlohmann::json& config);

}  // namespace stepd
