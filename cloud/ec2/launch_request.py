"""RunInstances as it is sent: hardened, tagged at birth, the same for the same order and spot."""

from __future__ import annotations

from typing import TYPE_CHECKING

from cloud.ec2.described import tag_specifications
from cloud.ec2.spots import Spot, client_token
from cloud.model import LaunchOrder
from cloud.settings import Settings

if TYPE_CHECKING:
    from types_boto3_ec2.type_defs import (
        BlockDeviceMappingTypeDef,
        EbsBlockDeviceTypeDef,
        RunInstancesRequestTypeDef,
    )

AWS_KEY = "alias/aws/ebs"  # AWS's own in each account (EC2 user guide, "Amazon EBS encryption")


def launch_request(
    order: LaunchOrder, spot: Spot, settings: Settings, group: str, user_data: bytes
) -> RunInstancesRequestTypeDef:
    """The parameters of the call. `group`: the security group's id; `user_data`: as it is run."""
    return {
        "ClientToken": client_token(order, spot),
        "MinCount": 1,
        "MaxCount": 1,
        "ImageId": spot.ami,
        "InstanceType": order.instance_type,  # type: ignore[typeddict-item]  # stubs list all types by name
        "UserData": user_data,  # type: ignore[typeddict-item]  # botocore takes bytes, and encodes
        "EnclaveOptions": {"Enabled": True},
        "MetadataOptions": {
            "HttpEndpoint": "enabled",
            "HttpTokens": "required",
            "HttpPutResponseHopLimit": 1,
        },
        "InstanceInitiatedShutdownBehavior": "terminate",
        "IamInstanceProfile": {"Name": settings.role},
        "BlockDeviceMappings": [_root_volume(spot, settings.root_volume_gib)],
        "NetworkInterfaces": [
            {
                "DeviceIndex": 0,
                "SubnetId": spot.subnet,
                "Groups": [group],
                "AssociatePublicIpAddress": True,
                "DeleteOnTermination": True,
            }
        ],
        "TagSpecifications": tag_specifications(order.identity),
    }


def _root_volume(spot: Spot, gib: int) -> BlockDeviceMappingTypeDef:
    """Encrypted under the account's default key, unless that one is suspected."""
    disk: EbsBlockDeviceTypeDef = {
        "Encrypted": True,
        "DeleteOnTermination": True,
        "VolumeType": "gp3",
        "VolumeSize": max(gib, spot.least_gib),
    }
    if spot.aws_key:
        disk["KmsKeyId"] = AWS_KEY
    return {"DeviceName": spot.root_device, "Ebs": disk}
