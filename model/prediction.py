"""What a network says: its heads' outputs by name, each with its invariance in the name.

B images, H rows, W columns: the size of the input image.

    relative_depth  (B, 1, H, W), known up to a positive scale and a shift for each image; grows with distance
    normals         (B, 3, H, W), unit X (right), Y (up), Z (towards the camera)
    alpha_logits    (B, 1, H, W); the sigmoid is the probability of foreground
    metric_depth_m  (B, 1, H, W), metres along the optical axis, above or at 0; grows with distance
    relative_disparity (B, 1, H, W), at least 0: 1 / depth up to a positive scale and a shift for each image; grows
                    with nearness

and whatever another row of `heads.table.HEADS` calls its output. A head that the network has not is not there. A plain
dict: DDP, torch.compile and torch.export see the tensors in it.
"""

import torch

Prediction = dict[str, torch.Tensor]
