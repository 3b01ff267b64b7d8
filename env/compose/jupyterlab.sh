# JupyterLab, reached through the port that compose publishes on the host's loopback.
set -eu
JUPYTER_TOKEN=$(cat /run/retailpulse/jupyterlab)
export JUPYTER_TOKEN
exec jupyter lab --ip=0.0.0.0 --port=8888 --no-browser --ServerApp.root_dir=/opt/retailpulse
