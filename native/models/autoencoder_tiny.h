// The decoder of AutoencoderTiny: pictures from latents in a hundredth of the work, for previews.
#pragma once

#include "models/family.h"

namespace stepd {

// folder: of the component ("vae_tiny"), for messages.
std::unique_ptr<LatentDecoder> make_autoencoder_tiny(const nlohmann::json& config, const std::string& folder);

}  // namespace stepd
