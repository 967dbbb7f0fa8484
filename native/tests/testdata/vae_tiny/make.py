"""Makes the files beside it with PyTorch 2.15 and diffusers 0.42: a tiny autoencoder with random weights, and what its
decoder makes of random latents.

    python make.py        # writes into its own folder
"""
from pathlib import Path

import torch
from diffusers import AutoencoderTiny
from safetensors.torch import save_file

OUT = Path(__file__).parent
torch.set_num_threads(1)
torch.manual_seed(5)
model = AutoencoderTiny(encoder_block_out_channels=(8, 8, 8), decoder_block_out_channels=(8, 8, 8),
                        num_encoder_blocks=(1, 1, 1), num_decoder_blocks=(2, 1, 1), latent_channels=4).eval()
with torch.no_grad():
    for parameter in model.parameters():
        parameter.mul_(1.7)  # so that pictures use the whole range, and a little more
model.save_pretrained(OUT)
z = 2 * torch.randn((1, 4, 3, 5), generator=torch.Generator("cpu").manual_seed(1))
with torch.no_grad():
    image = model.decode(z).sample
print(image.shape, image.min(), image.max(), image.std())
save_file({"z": z, "image": image}, str(OUT / "decode.safetensors"))
