"""Why a figure moved: contributions that add up to the change exactly, as a frame, a picture and a sentence."""
