//! Dispatches calls to the gRPC services.

use std::error::Error;

use http::{Request, Response};
use http_body::Body;
use tonic::codec::CompressionEncoding;
use tonic::codegen::Service as _;

use crate::grpc::auth::AuthService;
use crate::grpc::cluster::ClusterService;
use crate::grpc::election::ElectionService;
use crate::grpc::health::HealthService;
use crate::grpc::kv::KvService;
use crate::grpc::lease::LeaseService;
use crate::grpc::lock::LockService;
use crate::grpc::maintenance::MaintenanceService;
use crate::grpc::stubs::auth_server::AuthServer;
use crate::grpc::stubs::cluster_server::ClusterServer;
use crate::grpc::stubs::election_server::ElectionServer;
use crate::grpc::stubs::health_server::HealthServer;
use crate::grpc::stubs::k_v_server::KVServer;
use crate::grpc::stubs::lease_server::LeaseServer;
use crate::grpc::stubs::lock_server::LockServer;
use crate::grpc::stubs::maintenance_server::MaintenanceServer;
use crate::grpc::stubs::watch_server::WatchServer;
use crate::grpc::watch::WatchService;
use crate::method::Route;
use crate::server::Server;

/// All gRPC services. Clones share them.
#[derive(Clone)]
pub(super) struct Services {
    kv: KVServer<KvService>,
    watch: WatchServer<WatchService>,
    lease: LeaseServer<LeaseService>,
    cluster: ClusterServer<ClusterService>,
    maintenance: MaintenanceServer<MaintenanceService>,
    auth: AuthServer<AuthService>,
    election: ElectionServer<ElectionService>,
    lock: LockServer<LockService>,
    health: HealthServer<HealthService>,
}

impl Services {
    pub(super) fn new(server: &Server) -> Self {
        // The frame check limits the size of a message before decompression. This limit is for the
        // size after decompression.
        let limit = server.message_bytes_max();
        macro_rules! service {
            ($server:ident, $service:ident) => {
                $server::new($service(server.clone()))
                    .max_decoding_message_size(limit)
                    .accept_compressed(CompressionEncoding::Gzip)
            };
        }
        Self {
            kv: service!(KVServer, KvService),
            watch: service!(WatchServer, WatchService),
            lease: service!(LeaseServer, LeaseService),
            cluster: service!(ClusterServer, ClusterService),
            maintenance: service!(MaintenanceServer, MaintenanceService),
            auth: service!(AuthServer, AuthService),
            election: service!(ElectionServer, ElectionService),
            lock: service!(LockServer, LockService),
            health: service!(HealthServer, HealthService),
        }
    }

    /// Calls the service of a route.
    pub(super) async fn call<B>(
        &self,
        route: Route,
        request: Request<B>,
    ) -> Response<tonic::body::Body>
    where
        B: Body + Send + 'static,
        B::Error: Into<Box<dyn Error + Send + Sync>> + Send,
    {
        let response = match route {
            Route::Kv => self.kv.clone().call(request).await,
            Route::Watch => self.watch.clone().call(request).await,
            Route::Lease => self.lease.clone().call(request).await,
            Route::Cluster => self.cluster.clone().call(request).await,
            Route::Maintenance => self.maintenance.clone().call(request).await,
            Route::Auth => self.auth.clone().call(request).await,
            Route::Election => self.election.clone().call(request).await,
            Route::Lock => self.lock.clone().call(request).await,
            Route::Health => self.health.clone().call(request).await,
        };
        match response {
            Ok(response) => response,
            Err(never) => match never {},
        }
    }
}
