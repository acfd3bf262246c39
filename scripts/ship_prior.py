"""Copy a trained prior into the package, with its weights in 16 bits.

skyweave train experiments/configs/aoddiff_goes.yaml && skyweave train experiments/configs/aoddiff_goes_more.yaml
python scripts/ship_prior.py runs/aoddiff_goes_more/prior.safetensors aod
"""

import argparse
from pathlib import Path

from skyweave.prior.storage import SHIPPED, open_prior, save_prior

parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
parser.add_argument("prior", type=Path)
parser.add_argument("name", choices=list(SHIPPED))
args = parser.parse_args()
target = Path(__file__).resolve().parents[1] / "src" / "skyweave" / "data" / SHIPPED[args.name]
save_prior(open_prior(args.prior), target, overwrite=True, half=True)
print(f"{target}: {target.stat().st_size / 2**20:.2f} MiB")
