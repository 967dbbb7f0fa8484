"""Makes the files beside it with PyTorch 2.15, diffusers 0.42, transformers 5.23 and peft 0.21: a tiny random PixArt folder
and what the libraries compute with it, in the format of the reference data (manifest.json, cases/SECTION/NAME).

    python make.py        # writes into its own folder
"""
import json
from pathlib import Path

import torch
from diffusers import (AutoencoderKL, DDIMScheduler, DDPMScheduler, DPMSolverMultistepScheduler, EulerDiscreteScheduler,
                       FlowMatchEulerDiscreteScheduler, PixArtTransformer2DModel)
from peft import LoraConfig, inject_adapter_in_model
from safetensors.torch import save_file
from transformers import T5Config, T5EncoderModel

OUT = Path(__file__).parent
ALPHA_BAR = DDPMScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02).alphas_cumprod
CASES = []
torch.set_num_threads(1)


def randn(shape, seed):
    return torch.randn(shape, generator=torch.Generator("cpu").manual_seed(seed))


def case(name, arrays, suggested, params=None, texts=None):
    """arrays: file -> {name: tensor}; texts: file -> JSON."""
    folder = OUT / "cases" / name
    folder.mkdir(parents=True, exist_ok=True)
    for file, content in arrays.items():
        save_file({k: v.detach().clone().contiguous() for k, v in content.items()}, str(folder / file))
    for file, content in (texts or {}).items():
        (folder / file).write_text(json.dumps(content))
    CASES.append({"name": name, "params": params or {}, "suggested": suggested,
                  "files": [f"cases/{name}/{file}" for file in [*arrays, *(texts or {})]]})


def scatter(module, seed):
    """Random weights of a size that keeps activations near one."""
    with torch.no_grad():
        for i, (name, p) in enumerate(sorted(module.named_parameters())):
            r = randn(p.shape, seed * 1000 + i)
            if p.dim() == 1 and "norm" in name and name.endswith("weight"):
                p.copy_(1 + 0.1 * r)
            elif p.dim() < 2 or "table" in name:
                p.copy_(0.1 * r)
            else:
                p.copy_(r / (p[0].numel() ** 0.5))
    return module


TRANSFORMER = dict(num_attention_heads=2, attention_head_dim=12, in_channels=4, out_channels=8, num_layers=2, cross_attention_dim=24,
                   sample_size=16, patch_size=2, caption_channels=20, attention_bias=True, norm_elementwise_affine=False,
                   norm_eps=1e-6, interpolation_scale=2, use_additional_conditions=False)


def models():
    px = scatter(PixArtTransformer2DModel(**TRANSFORMER), 1)
    px.save_pretrained(OUT / "models/tiny/transformer")
    t5 = scatter(T5EncoderModel(T5Config(vocab_size=40, d_model=20, d_kv=8, d_ff=28, num_layers=2, num_heads=3,
                                         feed_forward_proj="gated-gelu", dropout_rate=0.0, is_encoder_decoder=False,
                                         use_cache=False)), 2).eval()
    t5.save_pretrained(OUT / "models/tiny/text_encoder")
    blocks = dict(down_block_types=["DownEncoderBlock2D"] * 3, up_block_types=["UpDecoderBlock2D"] * 3)
    vae = scatter(AutoencoderKL(block_out_channels=[4, 8, 12], layers_per_block=1, latent_channels=4, norm_num_groups=2,
                                sample_size=32, scaling_factor=0.5, shift_factor=0.25, use_quant_conv=True,
                                use_post_quant_conv=False, **blocks), 3)
    vae.save_pretrained(OUT / "models/tiny/vae")
    (OUT / "models/tiny/scheduler").mkdir(exist_ok=True)
    DPMSolverMultistepScheduler(beta_schedule="linear", beta_start=1e-4, beta_end=0.02).save_pretrained(OUT / "models/tiny/scheduler")
    (OUT / "models/tiny/model_index.json").write_text(json.dumps(
        {"_class_name": "PixArtSigmaPipeline", "scheduler": ["diffusers", "DPMSolverMultistepScheduler"],
         "text_encoder": ["transformers", "T5EncoderModel"], "tokenizer": [None, None],
         "transformer": ["diffusers", "PixArtTransformer2DModel"], "vae": ["diffusers", "AutoencoderKL"]}, indent=2))
    case("A/tiny", {}, {}, {"model": "models/tiny", "transformer_parameters": sum(p.numel() for p in px.parameters())})
    return px, t5, vae


def initial_values():
    """A new model from seed 7, as diffusers creates it."""
    torch.manual_seed(7)
    px = PixArtTransformer2DModel(**TRANSFORMER)
    save_file(dict(px.named_parameters()), str(OUT / "initial_values.safetensors"))


def hooked(module, names):
    store = {}
    for n in names:
        def hook(_, __, out, n=n):
            for i, o in enumerate(out if isinstance(out, tuple) else [out]):
                store[f"out.{n}#{i}" if isinstance(out, tuple) else f"out.{n}"] = o
        module.get_submodule(n).register_forward_hook(hook)
    return store


def call(px, latents, text, mask, t):
    return px(latents, encoder_hidden_states=text, timestep=t, encoder_attention_mask=mask,
              added_cond_kwargs={"resolution": None, "aspect_ratio": None}, return_dict=False)[0]


def components(px, t5, vae):
    bounds = {"fp32": {"forward": 3e-6, "empty_mask": 4e-4}, "bf16": {"forward": 0.03, "empty_mask": 0.03}}
    i = {"latents": randn((2, 4, 6, 10), 11), "text": randn((2, 7, 20), 12), "mask": torch.ones(2, 7, dtype=torch.long),
         "t": torch.tensor([3, 999])}
    i["mask"][0, 2:] = 0
    inputs = {f"in.{k}": v for k, v in i.items()}
    store = hooked(px, ["pos_embed", "adaln_single", "caption_projection", "transformer_blocks.0", "transformer_blocks.1.attn1",
                        "transformer_blocks.1.attn2", "transformer_blocks.1.ff"])
    with torch.no_grad():
        out = call(px, **i)
        forward = {**inputs, **store, "out.out": out}
        ones = torch.ones_like(i["mask"])
        empty = {**inputs, "out.ones": call(px, i["latents"], i["text"], ones, i["t"]),
                 "out.zeros": call(px, i["latents"], i["text"], 0 * ones, i["t"])}
        case("B/pixart-transformer", {"forward.safetensors": forward, "empty_mask.safetensors": empty}, bounds)
        t5_arrays = {}
        for what, n, keep in (("prompts", 9, 5), ("long", 300, 211)):
            ids = torch.randint(0, 40, (2, n), generator=torch.Generator("cpu").manual_seed(n))
            mask = (torch.arange(n)[None] < keep).long().repeat(2, 1)
            o = t5(ids, attention_mask=mask, output_hidden_states=True)
            last = o.last_hidden_state
            hidden = {f"out.hidden.{k}": h for k, h in enumerate(o.hidden_states[:-1])} if what == "prompts" else {}
            t5_arrays[f"{what}.safetensors"] = {"in.ids": ids, "in.mask": mask, "out.last": last, **hidden}
        case("B/t5-tiny", t5_arrays, {"fp32": {"prompts": 5e-6, "long": 6e-6}, "bf16": {"prompts": 0.04, "long": 0.04}}, {"model": "tiny"})
        image = torch.tanh(randn((1, 3, 22, 28), 13))
        d = vae.encode(image).latent_dist
        z = randn((1, 4, 5, 7), 14)
        case("B/vae-tiny", {"encode.safetensors": {"in.image": image, "out.mean": d.mean, "out.logvar": d.logvar},
                            "decode.safetensors": {"in.z": z, "out.image": vae.decode(z).sample}},
             {"fp32": {"encode": 9e-6, "decode": 2e-5}, "bf16": {"encode": 0.05, "decode": 0.05}}, {"model": "tiny"})


def schedules():
    lin = {"beta_schedule": "linear", "beta_start": 1e-4, "beta_end": 0.02}
    arrays, plan = {}, {}
    for tag, zero in (("linear", False), ("zero_snr", True)):
        s = DDPMScheduler(**lin, rescale_betas_zero_snr=zero)
        arrays[f"ddpm.{tag}.betas"], arrays[f"ddpm.{tag}.alphas_cumprod"] = s.betas, s.alphas_cumprod
    s, t = DDPMScheduler(**lin), torch.tensor([0, 17, 499, 999])
    x0, eps = randn((4, 2, 3, 4), 21), randn((4, 2, 3, 4), 22)
    arrays |= {"addnoise.x0": x0, "addnoise.eps": eps, "addnoise.t": t, "addnoise.xt": s.add_noise(x0, eps, t),
               "addnoise.v": s.get_velocity(x0, eps, t)}
    dpm, ddim, euler = DPMSolverMultistepScheduler, DDIMScheduler, EulerDiscreteScheduler
    v, trailing, off = {"prediction_type": "v_prediction"}, {"timestep_spacing": "trailing"}, {"clip_sample": False}
    leading = {"timestep_spacing": "leading", "steps_offset": 1}
    jobs = {"dpmpp": (dpm, lin), "dpmpp_v_leading": (dpm, {**lin, **v, **leading}), "dpmpp_sample": (dpm, {**lin, "prediction_type": "sample"}),
            "dpmpp_zero_snr_trailing": (dpm, {**lin, **v, **trailing, "rescale_betas_zero_snr": True}),
            "dpmpp_sigma_min": (dpm, {**lin, "final_sigmas_type": "sigma_min", "lower_order_final": False}),
            "dpmpp_scaled": (dpm, {**lin, "beta_schedule": "scaled_linear", "beta_start": 0.00085, "beta_end": 0.012}),
            "ddim": (ddim, {**lin, **off}), "ddim_clip": (ddim, {**lin, "clip_sample": True, "clip_sample_range": 0.7}),
            "ddim_sample_linspace": (ddim, {**lin, **off, "prediction_type": "sample", "timestep_spacing": "linspace"}),
            "ddim_zero_snr_v": (ddim, {**lin, **off, **v, **trailing, "rescale_betas_zero_snr": True}),
            "ddim_last": (ddim, {**lin, **off, "set_alpha_to_one": False}),
            "euler": (euler, lin), "euler_v_trailing": (euler, {**lin, **v, **trailing}), "euler_leading": (euler, {**lin, **leading})}
    for k, (tag, (cls, config)) in enumerate(jobs.items()):
        plan[tag] = {"class": cls.__name__, "config": config, "timesteps": {}, "sigmas": {}}
        for n in (1, 3, 7, 13, 28, 50):
            s = cls(**config)
            s.set_timesteps(n)
            plan[tag]["timesteps"][n] = s.timesteps.tolist()
            if hasattr(s, "sigmas"):
                plan[tag]["sigmas"][n] = s.sigmas.double().tolist()
        s = cls(**config)
        s.set_timesteps(5)
        x = randn((1, 2, 3, 4), 100 * k) * s.init_noise_sigma
        plan[tag] |= {"steps": 5, "init_noise_sigma": float(s.init_noise_sigma)}
        arrays[f"{tag}.x.0"] = x
        for i, ts in enumerate(s.timesteps):
            m = randn((1, 2, 3, 4), 100 * k + i + 1)
            arrays[f"{tag}.scaled.{i}"] = s.scale_model_input(x, ts)
            x = s.step(m, ts, x).prev_sample
            arrays[f"{tag}.model.{i}"], arrays[f"{tag}.x.{i + 1}"] = m, x
    flow(arrays, plan)
    case("B/schedules", {"arrays.safetensors": arrays}, {"fp32": {"tables": 1e-6, "steps": 5e-6}}, texts={"plan.json": plan})


def flow(arrays, plan):
    import numpy as np
    config = {"shift": 3.0, "use_dynamic_shifting": True, "base_image_seq_len": 256, "max_image_seq_len": 4096, "base_shift": 0.5, "max_shift": 1.15}
    plan["flow_dynamic"], plan["flow_static"] = {"config": config, "runs": []}, {"runs": []}
    for n, tokens in ((4, 24), (28, 4096), (5, 6000)):
        s, mu = FlowMatchEulerDiscreteScheduler(**config), tokens * (0.65 / 3840) + 0.5 - 0.65 / 3840 * 256
        s.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n), mu=mu)
        plan["flow_dynamic"]["runs"].append({"n": n, "seq": tokens, "mu": mu, "sigmas": s.sigmas.double().tolist(),
                                             "timesteps": s.timesteps.double().tolist()})
    for n, k in ((4, 1.0), (14, 1.0), (10, 3.0)):
        s, own = FlowMatchEulerDiscreteScheduler(shift=k), FlowMatchEulerDiscreteScheduler(shift=k)
        s.set_timesteps(sigmas=np.linspace(1.0, 1 / n, n))
        own.set_timesteps(n)
        plan["flow_static"]["runs"].append({"n": n, "shift": k, "sigmas": s.sigmas.double().tolist(),
                                            "sigmas_set_by_count": own.sigmas.double().tolist()})
    s = FlowMatchEulerDiscreteScheduler(**config)
    s.set_timesteps(sigmas=np.linspace(1.0, 1 / 6, 6), mu=0.7)
    x = arrays["flow.f32.x.0"] = randn((1, 3, 4), 31)
    for i, ts in enumerate(s.timesteps):
        m = arrays[f"flow.f32.model.{i}"] = randn((1, 3, 4), 32 + i)
        x = arrays[f"flow.f32.x.{i + 1}"] = s.step(m, ts, x).prev_sample


def loss_of(px, i, kind="eps", minsnr=False, loss="l2"):
    ab = ALPHA_BAR[i["t"]].view(-1, 1, 1, 1)
    xt = ab.sqrt() * i["x0"] + (1 - ab).sqrt() * i["noise"]
    target = i["noise"] if kind == "eps" else ab.sqrt() * i["noise"] - (1 - ab).sqrt() * i["x0"]
    e2 = (call(px, xt, i["text"], i["mask"], i["t"]).chunk(2, dim=1)[0] - target) ** 2
    if loss != "l2":
        c = 0.9 / (1 + ((1 - ab) / ab).sqrt()) ** 2 + 0.1 if loss.endswith("_snr") else torch.tensor(0.1)
        e2 = (2 * c if loss.startswith("huber") else 2) * ((e2 + c ** 2).sqrt() - c)
    e = e2.mean(dim=(1, 2, 3))
    snr = (ab / (1 - ab)).view(-1)
    return (e * snr.clamp(max=5) / (snr if kind == "eps" else snr + 1)).mean() if minsnr else e.mean()


def gradients(px):
    i = {"x0": randn((2, 4, 4, 6), 41), "noise": randn((2, 4, 4, 6), 42), "text": randn((2, 5, 20), 43),
         "mask": torch.ones(2, 5, dtype=torch.long), "t": torch.tensor([40, 871])}
    i["mask"][0, 3:] = 0
    px.requires_grad_(True)
    value = loss_of(px, i, "v", True, "huber_snr")
    names = [n for n, _ in px.named_parameters()]
    g = dict(zip(names, torch.autograd.grad(value, list(px.parameters()))))
    null = [n for n in names if n.endswith("to_k.bias")]
    case("C/pixart-full-v-huber-snr", {"inputs.safetensors": i, "grads.safetensors": g},
         {"fp32": {"grads": 2e-5, "loss": 2e-6}, "bf16": {"grads": 0.3, "loss": 0.01}},
         {"loss": {"kind": "v", "weight": "minsnr", "loss": "huber_snr"}, "null_grads": null,
          "null_grad_max_abs": 1e-8}, {"loss.json": {"fp32": float(value)}})
    lora(px, i)


def lora(px, i):
    """peft LoRA of rank 3 and alpha 6 on attention and the first feed-forward layer, saved as diffusers saves it."""
    px.requires_grad_(False)
    peft_config = LoraConfig(r=3, lora_alpha=6, target_modules=["to_k", "to_q", "to_v", "to_out.0", "ff.net.0.proj"])
    inject_adapter_in_model(peft_config, px)
    clean = lambda n: n.replace(".default", "")
    params = {clean(n): p for n, p in px.named_parameters() if p.requires_grad}
    with torch.no_grad():
        for k, (_, p) in enumerate(sorted(params.items())):
            p.copy_(0.5 * randn(p.shape, 5000 + k) / p.shape[-1] ** 0.5)
    value = loss_of(px, i)
    g = dict(zip(params, torch.autograd.grad(value, list(params.values()))))
    (OUT / "lora").mkdir(exist_ok=True)
    save_file(g, str(OUT / "lora/grads.safetensors"))
    config = {k: sorted(v) if isinstance(v, set) else v for k, v in peft_config.to_dict().items()}
    metadata = {"format": "pt", "lora_adapter_metadata": json.dumps({f"transformer.{k}": v for k, v in config.items()}, sort_keys=True)}
    save_file({f"transformer.{n}": p.detach() for n, p in params.items()}, str(OUT / "lora/pytorch_lora_weights.safetensors"), metadata=metadata)
    save_file(i, str(OUT / "lora/inputs.safetensors"))
    (OUT / "lora/loss.json").write_text(json.dumps({"fp32": float(value)}))
    g0 = torch.Generator("cpu").manual_seed(9)
    fresh = {}
    for n in params:                                          # in module order
        if "lora_A" in n:
            fresh[n] = torch.nn.init.kaiming_uniform_(torch.empty(params[n].shape), a=5 ** 0.5, generator=g0)
    save_file(fresh, str(OUT / "lora/initial_values.safetensors"))


if __name__ == "__main__":
    initial_values()
    px, t5, vae = models()
    components(px, t5, vae)
    schedules()
    gradients(px)
    (OUT / "manifest.json").write_text(json.dumps({"set": "tiny", "cases": CASES}, indent=1))
